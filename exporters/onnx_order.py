"""Order in ONNX: sorting, order statistics, and where a value would stand among others."""

from __future__ import annotations

from typing import Any

import torch

from graphprune.exporters.onnx_ops import numbers, onnx_translation

aten = torch.ops.aten


@onnx_translation(aten.sort.stable)
def sort(x: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """Values in order along a dimension, and where each was: (values, indices).

    Args:
        x: to sort.
        stable: ONNX always is: of equal values that with the lower index comes first.
        dim: along which.
        descending: the largest first.
    """
    from onnxscript import opset18  # only now: it takes a second

    del stable
    axis = dim % len(x.shape)
    length = opset18.Shape(x, start=axis, end=axis + 1)
    return opset18.TopK(x, length, axis=axis, largest=int(descending), sorted=1)


@onnx_translation(aten.kthvalue.default)
def kthvalue(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest value along a dimension, and where it was: (values, indices)."""
    return _smallest(x, numbers(k), dim % len(x.shape), keepdim=keepdim)


@onnx_translation(aten.median.dim)
def median(x: Any, dim: int, keepdim: bool = False) -> Any:
    """The middle value along a dimension (the lower of two), and where it was."""
    axis = dim % len(x.shape)
    return _smallest(x, _middle(x, axis), axis, keepdim=keepdim)


@onnx_translation(aten.median.default)
def median_of_all(x: Any) -> Any:
    """The middle value of a tensor (the lower of two)."""
    from onnxscript import opset18

    flat = opset18.Reshape(x, numbers(-1))
    values, _ = _smallest(flat, _middle(flat, 0), 0, keepdim=False)
    return values


def _middle(x: Any, axis: int) -> Any:
    from onnxscript import opset18

    length = opset18.Shape(x, start=axis, end=axis + 1)
    return opset18.Div(opset18.Add(length, numbers(1)), numbers(2))


def _smallest(x: Any, k: Any, axis: int, *, keepdim: bool) -> Any:
    """The last of the k smallest values, and its index."""
    from onnxscript import opset18

    found = opset18.TopK(x, k, axis=axis, largest=0, sorted=1)
    before, along = opset18.Sub(k, numbers(1)), numbers(axis)
    picked = [opset18.Slice(each, before, k, along) for each in found]
    return tuple(picked if keepdim else [opset18.Squeeze(each, along) for each in picked])


@onnx_translation(aten.searchsorted.Tensor)
def searchsorted(
    edges: Any,
    x: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """How many edges lie below each value: (..., M) for edges (..., N) and x (..., M).

    Args:
        edges: in rising order; a single row serves values of any shape.
        x: the values.
        out_int32: the counts are 32 bits wide.
        right: edges equal to the value count too; ``side="right"`` says the same.
        side: see ``right``.
        sorter: would put the edges in order; not supported.
    """
    from onnxscript import opset18

    if sorter is not None:
        raise NotImplementedError("searchsorted with a sorter")
    below = opset18.LessOrEqual if right or side == "right" else opset18.Less
    edges = edges if len(edges.shape) == 1 else opset18.Unsqueeze(edges, numbers(-2))
    found = below(edges, opset18.Unsqueeze(x, numbers(-1)))
    kind = 6 if out_int32 else 7  # TensorProto.INT32, INT64
    counts: Any = opset18.Cast(found, to=kind)
    return opset18.ReduceSum(counts, numbers(-1), keepdims=0)
