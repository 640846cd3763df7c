"""What networks of other libraries have found, one small network a fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hand_worked import Net, Tensor, conv, half
from torch import nn
from torch.nn import functional as F


def _repeated_with_its_length(m: Net, x: Tensor) -> Tensor:
    """Rotary angles as diffusers makes them: the length of the result is said as well."""
    y = m.a(x)
    return m.b(y.repeat_interleave(2, dim=1, output_size=y.shape[1] * 2))


def _ones_beside_the_values(m: Net, x: Tensor) -> Tensor:
    """Linear attention of EfficientViT: the row of ones, laid below each head, sums the weights."""
    q, k, v = (f(x).unflatten(1, (2, 4)).flatten(3) for f in (m.q, m.k, m.v))
    y = F.pad(v, (0, 0, 0, 1), value=1.0) @ (k.relu().mT @ q.relu())
    y = y[:, :, :-1] / (y[:, :, -1:] + 1e-3)
    return m.out(y.flatten(1, 2).unflatten(-1, (8, 8)))


def _detached_positions(m: Net, x: Tensor) -> Tensor:
    """CondenseNet's classifier: ``Variable(self.index)`` gives a detached tensor."""
    return m.out(torch.index_select(m.a(x).mean((2, 3)), 1, torch.autograd.Variable(m.n.index)))


def _filters_of_each_input(m: Net, x: Tensor) -> Tensor:
    """Decoders of brain signals: several filters for each channel that is measured."""
    return m.out(m.a(x).var((2, 3)).log())


def _tried_with_lengths(m: Net, x: Tensor) -> Tensor:
    """Speech's x-vectors: layers that take lengths and layers that do not, in one loop."""
    for layer in (m.a, m.block, m.b):
        try:
            x = layer(x, lengths=None)
        except TypeError:
            x = layer(x)
    return x


class _Index(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor([6, 1, 4, 3, 0, 7, 2]))


FOUND: dict[str, tuple[Callable[[Net, Tensor], Tensor], dict[str, nn.Module], dict[str, int]]] = {
    "repeated, with its length": (
        _repeated_with_its_length,
        {"a": conv(3, 8), "b": conv(16, 2)},
        {"a.weight": 4},
    ),
    "several filters for each channel of the input": (
        _filters_of_each_input,
        {"a": nn.Conv2d(3, 12, 3, groups=3), "out": nn.Linear(12, 2)},
        {"a.weight": 6},
    ),
    "layers that refuse an argument": (
        _tried_with_lengths,
        {"a": conv(3, 8), "block": nn.Sequential(nn.ReLU(), conv(8, 6)), "b": conv(6, 2)},
        {"a.weight": 4, "block.1.weight": 3},
    ),
    "positions of a buffer, detached": (
        _detached_positions,
        {"a": conv(3, 8), "n": _Index(), "out": nn.Linear(7, 2)},
        {"a.weight": 4},
    ),
    "ones beside the values of each head": (
        _ones_beside_the_values,
        {name: conv(3, 8) for name in "qkv"} | {"out": conv(8, 2)},
        {"q.weight": 4, "v.weight": 2},
    ),
}
"""Forward, layers, and how many channels of each group are left of half."""


@pytest.mark.parametrize("name", FOUND)
def test_half_goes(name: str) -> None:
    forward, layers, left = FOUND[name]
    widths = half(Net(forward, **layers)).plan.widths
    assert {group: after for group, (_, after) in widths.items()} == left


class _FoldedHeads(nn.Module):
    """GroupViT's attention: heads are folded into the batch, and unfolded for the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        batch, length, _ = x.shape
        q, k, v = (
            f(x).view(batch, length, 2, 4).transpose(1, 2).reshape(batch * 2, length, 4)
            for f in (self.q, self.k, self.v)
        )
        weights = (q @ k.mT).softmax(-1).view(batch, 2, length, length)
        y = weights.view(batch * 2, length, length) @ v
        y = y.view(batch, 2, length, 4).transpose(1, 2).reshape(batch, length, 8)
        return self.last(self.out(y))


def test_heads_unfolded_from_the_batch_are_proved() -> None:
    """Channels lay along what is the batch itself, and its size could not be read."""
    result = half(_FoldedHeads(), 2, 5, 6, heads="whole")
    assert result.plan.widths["v.weight"] == (8, 4)


def _biased_heads(m: Net, x: Tensor) -> Tensor:
    """UMT5's decoder: the mask is laid over zeros made for every head."""
    y = m.first(x)
    q, k, v = (f(y).unflatten(-1, (4, 2)).transpose(1, 2) for f in (m.q, m.k, m.v))
    seen = (x[:, None, :, :1] < 1).expand(-1, -1, -1, 5)
    mask = torch.where(seen, torch.zeros(1, 4, 5, 5), -1e4)
    y = F.scaled_dot_product_attention(q, k, v, mask)
    return m.last(y.transpose(1, 2).flatten(2))


def test_zeros_made_for_every_head_go_with_the_heads() -> None:
    """No parameter holds them, so no plan names them: they follow the rows of q, k and v."""
    net = Net(
        _biased_heads,
        **{name: nn.Linear(8, 8) for name in "qkv"},
        first=nn.Linear(6, 8),
        last=nn.Linear(8, 2),
    )
    result = half(net, 2, 5, 6, heads="whole")
    assert result.plan.widths["v.weight"] == (8, 4)
