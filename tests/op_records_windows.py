"""Records of pooling and resizing: to fewer places, to as many, to more."""

from __future__ import annotations

from typing import Any

import torch
from op_record import Record
from torch import Tensor
from torch.nn import functional as F

R = Record
KINDS = ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool")


def _pooled(kind: str, axes: str) -> Record:
    function = getattr(F, f"{kind}{len(axes.split())}d")
    after = {name.upper(): 2 for name in axes.split()}
    form = f"b c {axes} -> b c {' '.join(after)}"
    sizes = {"z": 4, **after}
    return R(function.__name__, form, lambda x, s: function(x, 2), locked=axes, sizes=sizes)


def _pooled_alike(kind: str, axes: str) -> Record:
    """Pooling that leaves as many places as there were."""
    function = getattr(F, f"{kind}{len(axes.split())}d")
    how = (4,) if kind.startswith("adaptive") else (3, 1, 1)
    form = f"b c {axes} -> b c {axes}"
    name = f"{function.__name__} to as many"
    return R(name, form, lambda x, s: function(x, *how), locked=axes, sizes={"z": 4})


def _interpolated(mode: str, axes: str, length: int) -> Record:
    """Resizing of dimensions of four, so that four is as many as there were."""
    names = axes.split()
    after = dict.fromkeys(names if length == 4 else map(str.upper, names), length)
    smooth = mode.endswith(_SMOOTH)
    how = {"mode": mode.removesuffix(_SMOOTH), "antialias": smooth}
    return R(
        f"{mode} {len(names)}d to {length}",
        f"b c {axes} -> b c {' '.join(after)}",
        lambda x, s: F.interpolate(x, (length,) * len(names), **how),
        locked=axes,
        sizes={"z": 4, **after},
    )


def _unpooled(axes: str, beside: bool) -> Record:
    """Back to the places that maxima were found at: of x itself, or of the tensor beside it."""
    count = len(axes.split())
    pool, unpool = getattr(F, f"max_pool{count}d"), getattr(F, f"max_unpool{count}d")

    def call(*given: Tensor | dict[str, Any]) -> Tensor:
        x, other = given[0], given[-2]
        places = pool(other, 2, return_indices=True)[1]
        return unpool(pool(x, 2), places, 2)

    form = ", ".join([f"b c {axes}"] * (1 + beside))
    name = f"max_unpool{count}d" + beside * " of another"
    return R(name, f"{form} -> b c {axes}", call, locked=axes, sizes={"z": 4})


def _placed(axes: str) -> Record:
    """As many places as there were, every row to the same ones, which no pooling has found."""
    unpool = getattr(F, f"max_unpool{len(axes.split())}d")
    return R(
        f"{unpool.__name__} to as many",
        f"b c {axes} -> b c {axes}",
        lambda x, s: unpool(x, torch.arange(4).expand_as(x), 1),
        locked=axes,
        sizes={"z": 4},
    )


_SMOOTH = " smooth"
_MODES = {
    "w": ("nearest", "nearest-exact", "linear"),
    "h w": (
        *("nearest", "nearest-exact", "bilinear", "bicubic"),
        *(f"bilinear{_SMOOTH}", f"bicubic{_SMOOTH}"),
    ),
    "z h w": ("nearest", "nearest-exact", "trilinear"),
}


WINDOWS = [
    *(_pooled(kind, axes) for kind in KINDS for axes in ("w", "h w", "z h w")),
    *(_pooled_alike(kind, axes) for kind in KINDS for axes in ("w", "h w", "z h w")),
    *(_unpooled(axes, beside) for axes in ("w", "h w", "z h w") for beside in (False, True)),
    *(_placed(axes) for axes in ("h w", "z h w")),
    *(_interpolated(mode, axes, n) for axes in _MODES for mode in _MODES[axes] for n in (3, 4, 5)),
]
