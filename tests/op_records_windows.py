"""Records of pooling and resizing: to fewer places, to as many, to more."""

from __future__ import annotations

from op_record import Record
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


_SMOOTH = " smooth"
_MODES = {
    "w": ("nearest", "linear"),
    "h w": ("nearest", "bilinear", "bicubic", f"bilinear{_SMOOTH}", f"bicubic{_SMOOTH}"),
    "z h w": ("nearest", "trilinear"),
}


WINDOWS = [
    *(_pooled(kind, axes) for kind in KINDS for axes in ("w", "h w", "z h w")),
    *(_pooled_alike(kind, axes) for kind in KINDS for axes in ("w", "h w", "z h w")),
    *(_interpolated(mode, axes, n) for axes in _MODES for mode in _MODES[axes] for n in (3, 4, 5)),
]
