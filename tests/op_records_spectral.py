"""Records of Fourier transforms and complex numbers: channels pass, what is transformed stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from op_record import Record

Tensor = torch.Tensor

_LENGTHS = {"fft": 4, "ifft": 4, "rfft": 3, "ihfft": 3, "irfft": 6, "hfft": 6}
_TAKES_COMPLEX = ("ifft", "irfft", "hfft")


def _call(kind: str, rank: str) -> Callable[..., Tensor]:
    transform: Any = getattr(torch.fft, f"{kind}{rank}")
    dims = {"dim": -1} if not rank else {"dim": (-2, -1)}

    def call(x: Tensor, sizes: dict[str, Any]) -> Tensor:
        given = torch.complex(x, 0.5 * x + 0.1) if kind in _TAKES_COMPLEX else x
        return transform(given, **dims).abs()

    return call


def _transform(kind: str, rank: str) -> Record:
    space = "h w" if rank else "w"
    after = "h n" if rank else "n"
    axes = f"b c {space} -> b c {after}"
    return Record(
        f"{kind}{rank}", axes, _call(kind, rank), locked=space, sizes={"n": _LENGTHS[kind]}
    )


def _of_one_length(kind: str) -> Record:
    """A transform of one dimension whose result is as long as what it is given."""
    transform: Any = getattr(torch.fft, kind)
    length = 6 if kind in ("rfft", "ihfft") else 4

    def call(x: Tensor, sizes: dict[str, Any]) -> Tensor:
        given = torch.complex(x, 0.5 * x + 0.1) if kind in _TAKES_COMPLEX else x
        return transform(given, n=length, dim=-1).abs()

    return Record(f"{kind} to as many", "b c w -> b c w", call, locked="w")


SPECTRAL = [
    *(_of_one_length(kind) for kind in ("rfft", "ihfft", "irfft", "hfft")),
    *(_transform(kind, rank) for kind in _LENGTHS for rank in ("", "2", "n")),
    Record("fftshift", "b c w -> b c w", lambda x, s: torch.fft.fftshift(x, dim=2), locked="w"),
    Record("ifftshift", "b c w -> b c w", lambda x, s: torch.fft.ifftshift(x, dim=2), locked="w"),
    Record("fft of channels", "b c w -> b c w", lambda x, s: torch.fft.fft(x, dim=1).abs(), ""),
    Record("fftn of all", "b c -> b c", lambda x, s: torch.fft.fftn(x).real, ""),
    Record(
        "rope by complex numbers",
        "b c w -> b c w",
        lambda x, s: torch.view_as_real(
            torch.view_as_complex(x.unflatten(2, (2, 2)).contiguous())
            * torch.polar(
                torch.ones(2).double(), torch.arange(2) + x.mean((1, 2), keepdim=True) * 0
            )
        ).flatten(2),
        locked="w",
    ),
    Record(
        "pairs of channels",
        "b n c -> b n c",
        lambda x, s: torch.view_as_real(
            torch.view_as_complex(x.unflatten(2, (-1, 2)).contiguous())
        ).flatten(2),
        choices={"c": 3},
    ),
    Record(
        "conjugates",
        "b c w -> b c w",
        lambda x, s: (
            (torch.complex(x, x * 2) * torch.complex(x, x + 1).conj()).resolve_conj().imag
            + torch.complex(x, x * 3).conj().imag.resolve_neg()
        ),
    ),
    Record(
        "real, imag",
        "b c w -> b c w",
        lambda x, s: torch.complex(x, x * 2).imag + torch.complex(x, x).square().real,
    ),
]
