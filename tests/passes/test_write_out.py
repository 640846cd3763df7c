"""Operators without a rule are given as what torch composes them of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hand_worked import Net, Tensor, conv, half
from torch.nn import functional as F

from graphprune.capturing.capture import capture
from graphprune.passes.write_out import WriteOut

aten = torch.ops.aten
X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def hstack(m: Net, x: Tensor) -> Tensor:
    return m.out(torch.hstack([m.a(x), m.b(x)]))


def column_stack(m: Net, x: Tensor) -> Tensor:
    return m.out(torch.column_stack([m.a(x), m.b(x)]))


def channel_shuffle(m: Net, x: Tensor) -> Tensor:
    return m.out(F.channel_shuffle(torch.cat([m.a(x), m.b(x)], 1), 2))


def unsafe_chunk(m: Net, x: Tensor) -> Tensor:
    first, second = torch.cat([m.a(x), m.b(x)], 1).unsafe_chunk(2, 1)
    return m.out(torch.cat([second, first], 1))


def hsplit(m: Net, x: Tensor) -> Tensor:
    first, second = torch.hsplit(torch.cat([m.a(x), m.b(x)], 1), 2)
    return m.out(torch.cat([second, first], 1))


def fliplr(m: Net, x: Tensor) -> Tensor:
    return m.out(torch.fliplr(torch.cat([m.a(x), m.b(x)], 1)))


@pytest.mark.parametrize(
    "forward", [hstack, column_stack, channel_shuffle, unsafe_chunk, hsplit, fliplr]
)
def test_half_of_the_channels(forward: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    net = Net(forward, a=conv(3, 8), b=conv(3, 8), out=conv(16, 2)).eval()
    captured = capture(net, X)
    assert captured.dynamic_batch
    assert all(node.target._opname != forward.__name__ for node in _calls(captured))
    widths = half(net).plan.widths
    assert sum(after for _, after in widths.values()) * 2 == sum(n for n, _ in widths.values())


def _calls(captured: object) -> list[torch.fx.Node]:
    nodes = captured.module.graph.nodes  # type: ignore[attr-defined]
    return [node for node in nodes if isinstance(node.target, torch._ops.OpOverload)]


def data_decide(m: Net, x: Tensor) -> Tensor:
    y = m.a(x).flatten()
    return m.out(x) + y[torch.where(y > 0)[0]].sum()


def random(m: Net, x: Tensor) -> Tensor:
    return m.out(x) * torch.rand_like(m.a(x)).mean()


def of_no_known_calls(m: Net, x: Tensor) -> Tensor:
    return m.out(x) + torch.histc(m.a(x), 4).mean()


@torch.library.custom_op("writeout::straight_through", mutates_args=())
def _straight_through(x: Tensor) -> Tensor:
    return torch.round(x)


@_straight_through.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def of_others(m: Net, x: Tensor) -> Tensor:
    return m.out(torch.ops.writeout.straight_through(m.a(x))[:, :3])


def of_many_calls(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    return m.out(x) * torch.linalg.cross(y[:, :3], y[:, 3:6], dim=1)[:, :1]


@pytest.mark.parametrize(
    "forward", [data_decide, random, of_no_known_calls, of_others, of_many_calls]
)
def test_others_stay(forward: Callable[..., Tensor]) -> None:
    net = Net(forward, a=conv(3, 8), out=conv(3, 2)).eval()
    module = capture(net, X).module
    assert not WriteOut()(module).modified
