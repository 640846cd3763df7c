"""Products over named dimensions: what their records do not tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hand_worked import Net, examine, groups, half, pins
from torch import nn
from torch.nn import functional as F

from graphprune.choosing.cost import cost_model

Tensor = torch.Tensor
Product = Callable[[Tensor, Tensor], Tensor]


def _macs_left(product: Product) -> float:
    """Share of the MACs that stays with the first of two layers' output channels halved."""
    net = Net(
        lambda m, x: product(product(x, m.a.weight).relu(), m.b.weight),
        a=nn.Linear(6, 8),
        b=nn.Linear(8, 4),
    )
    analysis = examine(net, 2, 5, 6)
    (group,) = analysis.groups
    classes = np.ones(analysis.classes, dtype=bool)
    cost = cost_model(analysis)
    whole = cost.macs(classes)
    classes[group.channels[:4]] = False
    return cost.macs(classes) / whole


def test_channels_that_are_summed_over_count_in_macs() -> None:
    expected = _macs_left(F.linear)
    assert expected == 0.5
    assert _macs_left(lambda x, w: torch.einsum("bnc,oc->bno", x, w)) == expected
    assert _macs_left(lambda x, w: torch.tensordot(x, w, ([2], [1]))) == expected


def test_whole_numbers_may_be_an_operand() -> None:
    """Angles of positions: no data could be made up for integers to try the operator out."""
    net = Net(
        lambda m, x: m.b(m.a(x) + torch.einsum("i,j->ij", torch.arange(5), m.a.bias)),
        a=nn.Linear(6, 8),
        b=nn.Linear(8, 4),
    )
    assert half(net, 2, 5, 6).plan.widths == {"a.weight": (8, 4)}


def test_a_diagonal_is_left_alone() -> None:
    net = Net(
        lambda m, x: m.b(torch.einsum("bii->bi", m.a(x))), a=nn.Linear(6, 5), b=nn.Linear(5, 4)
    )
    analysis = examine(net, 2, 5, 6)
    assert groups(analysis) == {}
    assert any("does not cover this use (a diagonal)" in one for one in pins(analysis, "a.bias", 0))
