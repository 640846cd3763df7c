"""Mixtures of experts in ONNX: each expert's own rows times its own matrix."""

from __future__ import annotations

from typing import Any

import onnx
import torch

from graphprune.exporters.onnx_ops import numbers, onnx_translation


def grouped_product(x: Any, weights: Any, ends: Any) -> Any:
    """grouped product(x (S, I), weights (E, I, O), ends (E,) integers): (S, O).

    Rows ``ends[e - 1]`` to ``ends[e]`` of x are expert e's; rows after the last end are zero, as in
    the operators that define them. S may be free; E is fixed.

    Raises:
        NotImplementedError: not rows times one matrix an expert.
    """
    from onnxscript import opset18  # only now: it takes a second

    if weights.shape is None or len(weights.shape) != 3 or len(x.shape) != 2:
        raise NotImplementedError("only rows times one matrix an expert")
    experts, _, width = weights.shape
    bounds = opset18.Concat(
        numbers(0),
        opset18.Cast(ends, to=onnx.TensorProto.INT64),
        opset18.Slice(opset18.Shape(x), numbers(0), numbers(1)),
        axis=0,
    )
    products = []
    for expert in range(experts + 1):
        first, last = (
            opset18.Slice(bounds, numbers(at), numbers(at + 1)) for at in (expert, expert + 1)
        )
        rows = opset18.Slice(x, first, last, numbers(0))
        if expert < experts:
            matrix = opset18.Squeeze(opset18.Gather(weights, numbers(expert)), numbers(0))
            products.append(opset18.MatMul(rows, matrix))
        else:
            shape = opset18.Concat(opset18.Sub(last, first), numbers(width), axis=0)
            products.append(opset18.Expand(opset18.CastLike(numbers(0), x), shape))
    return opset18.Concat(*products, axis=0)


onnx_translation(torch.ops.aten._grouped_mm.default)(grouped_product)
