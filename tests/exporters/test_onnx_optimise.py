"""What keeps a model from dividing by zero is in its ONNX file too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from graphprune.capturing.capture import capture
from graphprune.exporters.onnx import export_onnx


class Guarded(nn.Module):
    """Three quotients whose divisors are zero but for a small number, and a factor near one."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x / (x.abs().sum(-1, keepdim=True) + 1e-9)
        whole = x / (1e-12 + x.abs().sum())
        below = x / (x.abs().mean(-1, keepdim=True) - 1e-10)
        return torch.stack([rows, whole, below, x * 1.000001])


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_small_numbers_are_not_optimised_away(value: float, tmp_path: Path) -> None:
    model = Guarded().eval()
    path = tmp_path / "model.onnx"
    export_onnx(capture(model, torch.rand(2, 4)), path)
    x = torch.full((3, 4), value)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    expected = model(x).numpy()
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(found, expected)
    file = onnx.load(path)
    assert {node.domain for node in file.graph.node} == {""}
    assert [entry.domain for entry in file.opset_import] == [""]


def test_what_is_exactly_neutral_still_goes(tmp_path: Path) -> None:
    class Idle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu((x + 0.0) * 1.0)

    export_onnx(capture(Idle().eval(), torch.rand(2, 4)), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [node.op_type for node in graph.node] == ["Relu"]
