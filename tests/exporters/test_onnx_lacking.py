"""Operators for which torch.onnx has no form, against torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from graphprune.capturing.capture import capture
from graphprune.exporters.onnx import export_onnx
from graphprune.proof.compare import max_relative_error
from graphprune.proof.onnxrun import OnnxModel

EDGES = torch.linspace(-2, 2, 9)
Calls = Callable[[torch.Tensor], Any]
CALLS: dict[str, Calls] = {
    "stable sort": lambda x: torch.sort(x, dim=1, stable=True),
    "descending": lambda x: torch.sort(x, dim=-1, stable=True, descending=True),
    "argsort": lambda x: torch.argsort(x, dim=1, stable=True),
    "kthvalue": lambda x: x.kthvalue(2, 1),
    "kthvalue kept": lambda x: x.kthvalue(3, -1, keepdim=True).values,
    "median": lambda x: x.median(1),
    "median of an even number": lambda x: x.median(-1, keepdim=True).values,
    "median of all": lambda x: x.median() + x,
    "searchsorted": lambda x: torch.searchsorted(EDGES, x),
    "searchsorted right": lambda x: torch.searchsorted(EDGES, x.round(), right=True),
    "searchsorted in rows": lambda x: torch.searchsorted(x.sort(-1).values, x, out_int32=True),
    "isin": lambda x: torch.isin(x.round().long(), torch.tensor([0, 1])),
    "cumprod": lambda x: x.cumprod(1),
    "cumprod of the last": lambda x: (1 - x.sigmoid()).cumprod(-1),
    "cummax": lambda x: x.cummax(1),
    "cummin of ties": lambda x: x.round().cummin(-1),
    "rrelu": F.rrelu,
    "hypot": lambda x: torch.hypot(x, x.flip(1)),
}


class _Call(nn.Module):
    def __init__(self, call: Calls) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: torch.Tensor) -> Any:
        found = self.call(x)
        return found if isinstance(found, torch.Tensor) else tuple(found)


@pytest.mark.parametrize("name", CALLS)
def test_equals_torch(name: str, tmp_path: Path) -> None:
    model = _Call(CALLS[name]).eval()
    captured = capture(model, torch.randn(2, 5, 6))
    export_onnx(captured, tmp_path / "model.onnx")
    onnx = OnnxModel(tmp_path / "model.onnx")
    for batch in (2, 3):
        x = torch.randn(batch, 5, 6)
        expected = model(x)
        leaves = [expected] if isinstance(expected, torch.Tensor) else list(expected)
        assert max_relative_error(onnx(((x,), {})), leaves) < 1e-5
