"""Records of convolutions with a group for each channel, whose number must follow the channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from op_record import Record
from torch.nn import functional as F

aten = torch.ops.aten
Tensor = torch.Tensor


def _with(function: Callable[..., Tensor], padding: int | str) -> Callable[..., Tensor]:
    def call(x: Tensor, weight: Tensor, sizes: dict[str, Any]) -> Tensor:
        return function(x, weight, padding=padding, groups=sizes["c"])

    return call


def _written_out(x: Tensor, weight: Tensor, sizes: dict[str, Any]) -> Tensor:
    ones = [1, 1]
    return aten.convolution(x, weight, None, ones, ones, ones, False, [0, 0], sizes["c"])


def _of_one(name: str, repeat: Callable[[Tensor, int], Tensor]) -> Record:
    """One kernel, which is a parameter, for all channels."""

    def call(x: Tensor, kernel: Tensor, sizes: dict[str, Any]) -> Tensor:
        return F.conv2d(x, repeat(kernel, sizes["c"]), padding=1, groups=sizes["c"])

    form = "b c h w, one one k k -> b c h w"
    return Record(f"depthwise, {name}", form, call, locked="h w")


def _depthwise(name: str, axes: str, call: Callable[..., Tensor]) -> Record:
    kernel = " ".join("k" for _ in axes.split())
    form = f"b c {axes}, c one {kernel} -> b c {axes}"
    return Record(f"depthwise {name}", form, call, locked=axes, sizes={"z": 4})


_AXES = {1: "w", 2: "h w", 3: "z h w"}

DEPTHWISE = [
    *(_depthwise(f"{n}d", _AXES[n], _with(getattr(F, f"conv{n}d"), 1)) for n in _AXES),
    *(_depthwise(f"{n}d same", _AXES[n], _with(getattr(F, f"conv{n}d"), "same")) for n in _AXES),
    *(
        _depthwise(f"transposed {n}d", _AXES[n], _with(getattr(F, f"conv_transpose{n}d"), 1))
        for n in _AXES
    ),
    _depthwise("written out", "h w", _written_out),
    _of_one("repeated", lambda kernel, c: kernel.repeat(c, 1, 1, 1)),
    _of_one("expanded", lambda kernel, c: kernel.expand(c, -1, -1, -1)),
    _of_one("repeated by a view", lambda kernel, c: kernel.repeat(1, c, 1, 1).view(c, 1, 3, 3)),
    _of_one("repeated, then flipped", lambda kernel, c: 2 * kernel[0].repeat(c, 1, 1, 1).flip(2)),
]
