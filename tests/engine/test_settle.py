"""Constraints put down by hand: settling them ends, and gives what they ask for."""

from __future__ import annotations

import torch
from torch import fx, nn

from graphprune.analysis.settle import Settlement, settle
from graphprune.labels.atoms import NONE
from graphprune.rules.context import Context


def settled(context: Context) -> Settlement:
    graph = fx.Graph()
    graph.output(graph.placeholder("x"))
    return settle(fx.GraphModule(nn.Module(), graph), context)


def test_whole_rows_beside_a_row_with_an_element_without_channels() -> None:
    """The columns of that row cannot be made one, which was tried again without end."""
    context = Context()
    a, b, c, d = context.store.allocate(4).tolist()
    context.store.add_grid(torch.tensor([[a, a, a], [b, NONE, c], [d, d, d]]))
    found = settled(context)
    stays = found.pinned[found.class_of[[a, b, c, d]]].tolist()
    assert stays == [False, True, True, False]
    assert found.blocks == []


def test_whole_rows_make_all_rows_go_whole() -> None:
    context = Context()
    a, b, c = context.store.allocate(3).tolist()
    context.store.add_grid(torch.tensor([[a, a], [b, c]]))
    found = settled(context)
    assert found.class_of[b] == found.class_of[c] != found.class_of[a]
    assert not found.pinned.any()
