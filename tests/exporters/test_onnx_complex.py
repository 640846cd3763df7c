"""Products of complex numbers as ONNX, against torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graphprune.capturing.capture import capture
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.onnx_complex import complex_written_out
from graphprune.proof.compare import max_relative_error
from graphprune.proof.onnxrun import OnnxModel


class Rotary(nn.Module):
    """Pairs of features turned by their position, one angle for all heads: (N, T, 12)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear, self.dim = nn.Linear(12, 12), dim
        angles = torch.arange(5.0)[:, None] * torch.tensor([1.0, 0.3])
        self.register_buffer("turns", torch.polar(torch.ones(5, 2), angles))

    def forward(self, x: Tensor) -> Tensor:
        heads = self.linear(x).unflatten(-1, (3, 4))  # (N, T, 3, 4)
        pairs = torch.view_as_complex(heads.unflatten(-1, (2, 2)))
        turned = pairs * self.turns.unsqueeze(self.dim)
        return torch.view_as_real(turned).flatten(2)


@pytest.mark.parametrize("dim", [1, -2])
def test_onnx_equals_torch_for_any_batch(dim: int, tmp_path: Path) -> None:
    model = Rotary(dim).eval()
    export_onnx(capture(model, torch.randn(2, 5, 12)), tmp_path / "model.onnx")
    for batch in (2, 3):
        x = torch.randn(batch, 5, 12)
        actual = OnnxModel(tmp_path / "model.onnx")(((x,), {}))
        assert max_relative_error(actual, [model(x)]) < 1e-5


def test_programs_without_complex_numbers_stay_as_they_are() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.unsqueeze(1) * 2

    program = torch.export.export(Plain(), (torch.randn(2, 3),), strict=False)
    assert complex_written_out(program) is program
