"""Distances between all pairs of points in ONNX, as torch.cdist gives them."""

from __future__ import annotations

import math
from typing import Any

import torch

from graphprune.exporters.onnx_ops import like, numbers, onnx_translation


def distances(x: Any, y: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """cdist(x (…, M, D), y (…, N, D)): (…, M, N), the p-norm of each difference.

    Args:
        x: points.
        y: others; leading dimensions broadcast.
        p: of the norm, at least 0; 0 counts the coordinates that differ.
        compute_mode: how torch computes it, which does not matter here.
    """
    from onnxscript import opset18  # only now: it takes a second

    del compute_mode
    gaps = opset18.Abs(
        opset18.Sub(opset18.Unsqueeze(x, numbers(-2)), opset18.Unsqueeze(y, numbers(-3)))
    )
    if p == 0:
        return _sum(opset18.CastLike(opset18.Greater(gaps, like(0.0, gaps)), gaps))
    if p == 1:
        return _sum(gaps)
    if math.isinf(p):
        return opset18.ReduceMax(gaps, numbers(-1), keepdims=0)
    if p == 2:
        return opset18.Sqrt(_sum(opset18.Mul(gaps, gaps)))
    return opset18.Pow(_sum(opset18.Pow(gaps, like(p, gaps))), like(1 / p, gaps))


def _sum(values: Any) -> Any:
    from onnxscript import opset18

    return opset18.ReduceSum(values, numbers(-1), keepdims=0)


onnx_translation(torch.ops.aten.cdist.default, torch.ops.aten._cdist_forward.default)(distances)
