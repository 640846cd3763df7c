"""Attention as ONNX, against torch's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from graphprune.capturing.capture import capture
from graphprune.exporters.onnx import export_onnx
from graphprune.proof.compare import max_relative_error
from graphprune.proof.onnxrun import OnnxModel

Tensor = torch.Tensor


class _Attention(nn.Module):
    """Windows of tokens, (batch, windows, heads, length, features), as in hierarchical ViTs."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        attend: Tensor = F.scaled_dot_product_attention(q, k, v, mask, **self.options)  # type: ignore[arg-type]
        return attend


def _operands(*leading: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.randn(*leading, 5, 8),
        torch.randn(*leading, 6, 8),
        torch.randn(*leading, 6, 7),
    )


def _error(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> float:
    export_onnx(capture(model.eval(), inputs), folder / "model.onnx")
    # Another batch than the graph was captured with.
    wider = tuple(torch.cat([one, one.flip(0)]) for one in inputs)
    expected = model(*wider)
    return max_relative_error(OnnxModel(folder / "model.onnx")((wider, {})), [expected])


@pytest.mark.parametrize(
    ("leading", "options"),
    [((2,), {}), ((2, 3), {"scale": 0.3}), ((2, 3, 4), {"is_causal": True}), ((2, 2, 3, 2), {})],
)
def test_equals_torch(leading: tuple[int, ...], options: dict[str, object], tmp_path: Path) -> None:
    assert _error(_Attention(**options), _operands(*leading), tmp_path) < 1e-5


@pytest.mark.parametrize(
    ("leading", "kind"),
    [((2, 4), "a row sees nothing"), ((2, 3, 4), "a row sees nothing"), ((2, 3, 4), "float")],
)
def test_masks_broadcast(leading: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    mask = torch.rand(2, *(1 for _ in leading[1:]), 5, 6) > 0.4
    mask[..., 0] = True
    if kind == "a row sees nothing":
        mask[..., 2, :] = False
    operands = (*_operands(*leading), torch.randn(mask.shape) if kind == "float" else mask)
    assert _error(_Attention(), operands, tmp_path) < 1e-5


@pytest.mark.parametrize("leading", [(2, 4), (2, 3, 4)])
def test_heads_that_share_a_key(leading: tuple[int, ...], tmp_path: Path) -> None:
    q, k, v = _operands(*leading)
    operands = (q, k[..., :2, :, :], v[..., :2, :, :])
    assert _error(_Attention(enable_gqa=True), operands, tmp_path) < 1e-5


def test_half_precision(tmp_path: Path) -> None:
    mask = torch.ones(2, 1, 5, 6, dtype=torch.bool)
    mask[:, :, 2] = False
    operands = (*(one.half() for one in _operands(2, 3)), mask)
    assert _error(_Attention(), operands, tmp_path) < 2e-3
