"""Mixtures of experts whose examples are picked and put back by masks lose as others do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import graphprune

Tensor = torch.Tensor
_WIDTH, _HIDDEN = 16, 24


def _add(out: Tensor, x: Tensor, chosen: Tensor, expert: nn.Module) -> Tensor:
    out[chosen] += expert(x[chosen])
    return out


def _assign(out: Tensor, x: Tensor, chosen: Tensor, expert: nn.Module) -> Tensor:
    out[chosen] = expert(x[chosen])
    return out


def _scatter(out: Tensor, x: Tensor, chosen: Tensor, expert: nn.Module) -> Tensor:
    return out.masked_scatter(chosen.unsqueeze(-1), expert(x[chosen]))


class _Experts(nn.Module):
    def __init__(self, put: Callable[[Tensor, Tensor, Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.first, self.gate = nn.Linear(8, _WIDTH), nn.Linear(_WIDTH, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(_WIDTH, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _WIDTH))
            for _ in range(3)
        )
        self.last = nn.Linear(_WIDTH, 4)
        self.put = put

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        best = self.gate(x).argmax(-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            out = self.put(out, x, best == number, expert)
        answer: Tensor = self.last(x + out)
        return answer


@pytest.mark.parametrize("put", [_add, _assign, _scatter])
def test_experts_by_masks(
    put: Callable[[Tensor, Tensor, Tensor, nn.Module], Tensor], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = _Experts(put).eval()
    result = graphprune.compress(model, (torch.randn(4, 6, 8),), method="l2", target="channels=0.5")
    assert isinstance(result, graphprune.compressed.Compressed)
    sizes = {name: tuple(tensor.shape) for name, tensor in result.model.named_parameters()}
    half, hidden = _WIDTH // 2, _HIDDEN // 2
    assert sizes["first.weight"] == (half, 8)
    assert sizes["experts.2.0.weight"] == (hidden, half)
    assert sizes["experts.2.2.weight"] == (half, hidden)
    assert sizes["last.weight"] == (4, half)
    result.save(tmp_path / "out", latency=False)  # its file is compared with the small model
