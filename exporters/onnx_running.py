"""Running products and extremes in ONNX, which has running sums alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from graphprune.exporters.onnx_ops import numbers, onnx_translation

aten = torch.ops.aten


@onnx_translation(aten.cumprod.default)
def cumprod(x: Any, dim: int, *, dtype: Any = None) -> Any:
    """Product of all values up to each along a dimension; of another dtype it is not supported."""
    from onnxscript import opset18  # only now: it takes a second

    if dtype is not None:
        raise NotImplementedError("cumprod of another dtype")
    (products,) = _running((x,), dim, lambda early, late: (opset18.Mul(early[0], late[0]),))
    return products


@onnx_translation(aten.cummax.default)
def cummax(x: Any, dim: int) -> Any:
    """The largest value up to each along a dimension, and where it was last."""
    from onnxscript import opset18

    return _running_extreme(x, dim, opset18.GreaterOrEqual)


@onnx_translation(aten.cummin.default)
def cummin(x: Any, dim: int) -> Any:
    """The smallest value up to each along a dimension, and where it was last."""
    from onnxscript import opset18

    return _running_extreme(x, dim, opset18.LessOrEqual)


def _running_extreme(x: Any, dim: int, beats: Callable[[Any, Any], Any]) -> Any:
    from onnxscript import opset18

    def better(early: tuple[Any, ...], late: tuple[Any, ...]) -> tuple[Any, ...]:
        wins = beats(late[0], early[0])
        return tuple(opset18.Where(wins, b, a) for a, b in zip(early, late, strict=True))

    axis = dim % len(x.shape)
    behind = [1] * (len(x.shape) - axis - 1)
    places = opset18.Reshape(numbers(*range(_length(x, axis))), numbers(-1, *behind))
    return _running((x, opset18.Expand(places, opset18.Shape(x))), axis, better)


def _running(
    values: tuple[Any, ...],
    dim: int,
    joined: Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]],
) -> tuple[Any, ...]:
    """Each value joined with all before it, in as many steps as the length has binary digits.

    ``joined`` takes what is known up to a place and what is known from there on (both associative).
    """
    from onnxscript import opset18

    axis = dim % len(values[0].shape)
    length, step = _length(values[0], axis), 1
    along = numbers(axis)
    while step < length:

        def part(each: Any, start: int, end: int) -> Any:
            return opset18.Slice(each, numbers(start), numbers(end), along)

        done = [part(each, 0, step) for each in values]
        early = tuple(part(each, 0, length - step) for each in values)
        late = tuple(part(each, step, length) for each in values)
        found = joined(early, late)
        values = tuple(opset18.Concat(a, b, axis=axis) for a, b in zip(done, found, strict=True))
        step *= 2
    return values


def _length(x: Any, axis: int) -> int:
    length = x.shape[axis]
    if not isinstance(length, int):
        raise NotImplementedError("a running product or extreme along a size that is free")
    return length
