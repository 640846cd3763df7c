"""Writes into memory that nobody reads afterwards are dropped, and no others."""

from __future__ import annotations

import pytest
import torch
from hand_worked import Net, Tensor, conv, half
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.graph.aliases import written_arguments


def freed(m: Net, x: Tensor) -> Tensor:
    """Memory freed by hand, as reversible networks do."""
    y = m.a(x)
    left, right = (part.contiguous() for part in y.chunk(2, dim=1))
    out = torch.cat([left + m.b(right), right], dim=1)
    left.set_()
    right.set_()
    return m.out(out)


def overwritten(m: Net, x: Tensor) -> Tensor:
    """Two writes in a row, the first of which only the second could read."""
    y = m.a(x)
    out = m.out(y)
    y.mul_(2)
    y[:, :1].zero_()
    return out


def test_freed_memory_holds_nothing_back() -> None:
    net = Net(freed, a=conv(3, 8), b=conv(4, 4), out=conv(8, 2))
    assert half(net).plan.widths == {"a.weight": (8, 4)}


@pytest.mark.parametrize("forward", [freed, overwritten])
def test_no_write_is_left(forward: object) -> None:
    net = Net(forward, a=conv(3, 8), b=conv(4, 4), out=conv(8, 2))
    graph = capture(net.eval(), torch.randn(2, 3, 6, 6)).module.graph
    assert not [node for node in graph.nodes if written_arguments(node)]


def through_a_view(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    y[:, :1].zero_()
    return m.out(y)


def into_a_buffer(m: Net, x: Tensor) -> Tensor:
    m.n.running_mean.mul_(0.5)
    return m.out(m.n(m.a(x)))


@pytest.mark.parametrize("forward", [through_a_view, into_a_buffer])
def test_writes_that_are_read_stay(forward: object) -> None:
    net = Net(forward, a=conv(3, 8), n=nn.BatchNorm2d(8), out=conv(8, 2)).eval()
    nn.init.ones_(net.n.running_mean)
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        captured = capture(net, x).module(x)
        torch.testing.assert_close(captured, net(x))


def of_no_width(m: Net, x: Tensor) -> Tensor:
    """What is beside the last channel is copied, though there is nothing."""
    y = m.a(x)
    z = torch.empty_like(y)
    z[:, :8].copy_(y)
    z[:, 8:].copy_(y[:, 8:])
    return m.out(z)


def test_writes_of_no_elements_go() -> None:
    net = Net(of_no_width, a=conv(3, 8), out=conv(8, 2)).eval()
    graph = capture(net, torch.randn(2, 3, 6, 6)).module.graph
    assert len([node for node in graph.nodes if written_arguments(node)]) == 1
