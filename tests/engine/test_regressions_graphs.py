"""Networks on graphs, scans, vmap and flex_attention: one small network a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import flex_attention as flex

from graphprune.compress import compress
from graphprune.compressed import Compressed


def _halved(model: nn.Module, inputs: Any) -> Compressed:
    """The model with half of its channels, proved, and what it was captured as."""
    torch.manual_seed(0)
    result = compress(model.eval(), inputs, method="l2", target="channels=0.5")
    assert isinstance(result, Compressed)
    assert result.certificate.passed
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    with torch.no_grad():
        torch.testing.assert_close(result.stages.dense.module(*args), model(*args))
    return result


class _SelfLoops(nn.Module):
    """torch_geometric's graph convolution: loops are taken out, and one is put in for each node."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        nodes = torch.arange(x.shape[0])
        edges = edges[:, edges[0] != edges[1]]
        source, target = torch.cat([edges, nodes.expand(2, -1)], dim=1)
        for layer in (self.first, self.second):
            x = layer(x)
            x = torch.zeros_like(x).index_add(0, target, x[source])
        return x


def test_a_part_of_a_concatenation_that_may_be_empty() -> None:
    """Whether it has elements depends on the values; asking for it ended in a traceback."""
    edges = torch.tensor([[0, 1, 2, 3, 3], [1, 2, 3, 3, 0]])
    result = _halved(_SelfLoops(), (torch.randn(6, 5), edges))
    assert result.plan.widths["first.weight"] == (8, 4)


class _Mapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.vmap(lambda row: self.second(self.first(row).relu()).relu())(x)
        return self.third(x)


def test_layers_under_vmap() -> None:
    """They were captured as calls that open and close it, and all was pinned."""
    result = _halved(_Mapped(), torch.randn(4, 5))
    assert sum(p.numel() for p in result.model.parameters()) < 75


class _Flexible(nn.Module):
    def __init__(self, attend: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 48), nn.Linear(16, 3)
        self.bias = nn.Parameter(torch.randn(4, 9))
        self.attend = attend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 4, 4).permute(2, 0, 3, 1, 4)
        return self.out(self.attend(self, q, k, v).transpose(1, 2).flatten(2))


def _biased(model: _Flexible, *qkv: torch.Tensor) -> torch.Tensor:
    return flex.flex_attention(
        *qkv, score_mod=lambda score, b, head, m, n: score + model.bias[head, m - n + 4]
    )


def _masked(model: _Flexible, *qkv: torch.Tensor) -> torch.Tensor:
    mask = flex.create_block_mask(lambda b, h, m, n: m >= n, None, None, 5, 5, device="cpu")
    return flex.flex_attention(*qkv, block_mask=mask)


def _grouped(model: _Flexible, *qkv: torch.Tensor) -> torch.Tensor:
    q, k, v = qkv
    return flex.flex_attention(q, k[:, :2], v[:, :2], enable_gqa=True)


@pytest.mark.parametrize("attend", [_biased, _masked, _grouped])
def test_flex_attention(attend: Callable[..., torch.Tensor]) -> None:
    """It compiles a kernel of its own, which torch.export refused to trace."""
    before = flex.flex_attention_hop
    with pytest.MonkeyPatch.context() as patch:  # what it is compared with need not be compiled
        patch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
        result = _halved(_Flexible(attend), torch.randn(2, 5, 6))
    assert flex.flex_attention_hop is before
    after = sum(p.numel() for p in result.model.parameters())
    assert after < 0.6 * sum(p.numel() for p in result.stages.dense.module.parameters())


class _Scan(nn.Module):
    """A scan over time of what was folded into the batch: x[:, 1:] next to x[:]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 16), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        x, gate = self.first(x).chunk(2, -1)
        x, gate = (t.transpose(1, 2).reshape(batch * 8, length) for t in (x, gate.sigmoid()))
        x = x[:] * gate[0:]
        x = torch.cat([x[:, :1], x[:, 1:] + x[:, :-1]], 1)
        return self.second(x.view(batch, 8, length).transpose(1, 2))


def test_a_slice_to_the_end_of_batch_and_channels() -> None:
    """Its end was the one for the batch of the capture, so that another batch lost its rest."""
    result = _halved(_Scan(), torch.randn(3, 6, 5))
    assert result.plan.widths["first.weight"] == (8, 4)
    assert result.model(torch.randn(5, 6, 5)).shape == (5, 6, 3)


class _Loops(nn.Module):
    """torch_geometric's Chebyshev convolution: weights of edges, and one more for each node."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        edges = edges[:, edges[0] != edges[1]]
        nodes = torch.arange(x.shape[0])
        weights = torch.cat([-torch.ones(edges.shape[1]), x.new_full((x.shape[0],), 0.5)])
        source, target = torch.cat([edges, nodes.expand(2, -1)], dim=1)
        x = self.first(x)
        x = torch.zeros_like(x).index_add(0, target, x[source] * weights[:, None])
        return self.second(x)


def test_parts_side_by_side_whose_number_the_data_decide() -> None:
    """The reference asked how many there are, of a mask that removes nothing."""
    edges = torch.tensor([[0, 1, 2, 3, 3], [1, 2, 3, 3, 0]])
    result = _halved(_Loops(), (torch.randn(6, 5), edges))
    assert result.plan.widths["first.weight"] == (8, 4)


class _Packed(nn.Module):
    """Weight normalisation by einops.pack: a concatenation of one tensor over merged dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 8, 3), nn.Conv1d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in (self.first, self.second):
            rows = torch.cat([conv.weight.flatten(1)], dim=-1)
            weight = nn.functional.normalize(rows, dim=-1).view(conv.weight.shape)
            x = nn.functional.conv1d(x, weight).relu()
        return x


def test_a_concatenation_of_one() -> None:
    """Its parts were thought unlike each other, which pinned the layers before and after."""
    result = _halved(_Packed(), torch.randn(2, 4, 9))
    assert list(result.plan.widths.values()) == [(8, 4)]


class _NoProducts(nn.Module):
    """pykan's multiplication of pairs of the channels that follow, of which there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.second(torch.cat([x[:, :8], x[:, 8::2] * x[:, 9::2]], dim=1))


def test_a_strided_slice_without_elements() -> None:
    """Its stride pinned all channels, though it takes none."""
    result = _halved(_NoProducts(), torch.randn(4, 5))
    assert result.plan.widths["first.weight"] == (8, 4)
