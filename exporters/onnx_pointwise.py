"""Element-wise operators in ONNX for which torch.onnx has no form."""

from __future__ import annotations

from typing import Any

import torch

from graphprune.exporters.onnx_ops import onnx_translation

aten = torch.ops.aten


@onnx_translation(aten.rrelu.default)
def rrelu(
    x: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Any = None,
) -> Any:
    """In evaluation the slope below zero is the middle of the two bounds."""
    from onnxscript import opset18  # only now: it takes a second

    if training or generator is not None:
        raise NotImplementedError("a slope that is drawn")
    return opset18.LeakyRelu(x, alpha=(lower + upper) / 2)


@onnx_translation(aten.hypot.default)
def hypot(x: Any, y: Any) -> Any:
    """The length of (x, y)."""
    from onnxscript import opset18

    return opset18.Sqrt(opset18.Add(opset18.Mul(x, x), opset18.Mul(y, y)))
