"""Distances between points as ONNX, against torch.cdist."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.exporters.onnx import export_onnx
from graphprune.proof.compare import max_relative_error
from graphprune.proof.onnxrun import OnnxModel


class _Pairs(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, y, p=self.p)


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, float("inf")])
def test_equals_torch(p: float, tmp_path: Path) -> None:
    """Point clouds look for neighbours by it; torch.onnx has no form for it."""
    inputs = (torch.randn(2, 5, 3), torch.randn(2, 4, 3))
    captured = capture(_Pairs(p).eval(), inputs)
    export_onnx(captured, tmp_path / "model.onnx")
    actual = OnnxModel(tmp_path / "model.onnx")((inputs, {}))
    assert max_relative_error(actual, [torch.cdist(*inputs, p=p)]) < 1e-5
