"""Data movement tried on cut tensors says of labels what the whole call says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import fx

from graphprune.capturing.capture import capture
from graphprune.graph.replay import replay_movement
from graphprune.graph.values import is_tensor, shape_of
from graphprune.labels.slots import compact
from graphprune.shrinking.cut import alike, find_cut

MOVES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "permute": lambda x: x.permute(2, 0, 1),
    "transpose": lambda x: x.transpose(1, 2),
    "view apart": lambda x: x.reshape(x.shape[0], 7, 3, 4),
    "view together": lambda x: x.reshape(x.shape[0], 84),
    "view to -1": lambda x: x.reshape(-1, 7, 6, 2),
    "select": lambda x: x.select(1, 5),
    "select within": lambda x: x.select(2, 5),
    "slice": lambda x: x[:, 3:],
    "expand": lambda x: x.unsqueeze(1).expand(-1, 5, -1, -1),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1),
}


class Move(torch.nn.Module):
    """One move of a (batch, 7, 12) tensor."""

    def __init__(self, move: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.move = move

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.move(x) + 0


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("dim", [1, 2])
def test_labels_move_through_a_cut_call_as_through_the_whole(name: str, dim: int) -> None:
    graph = capture(Move(MOVES[name]), torch.randn(2, 7, 12)).module.graph
    (first,) = graph.find_nodes(op="placeholder")
    shape = [1, 1, 1]
    shape[dim] = shape_of(first)[dim]
    slot = torch.arange(shape[dim]).reshape(shape)
    checked = 0
    node: fx.Node = first
    while True:
        source = node
        moves = [user for user in source.users if "val" in user.meta and is_tensor(user)]
        node = moves[0] if moves else source
        if node is source or node.target is torch.ops.aten.add.Tensor:
            break
        cut = find_cut(node, (slot,))
        (whole,) = replay_movement(node, source, slot.expand(shape_of(source)))
        if cut is not None:
            (part,) = cut.call(node, slot.expand(cut.shape(shape_of(source))))
            assert torch.equal(compact(part), compact(whole))
            checked += 1
        slot = compact(whole)
    assert checked


def test_dimensions_taken_over_by_a_view() -> None:
    assert alike((2, 197, 36), (2, 197, 3, 12)) == [(0, 0), (1, 1)]
    assert alike((2, 6, 5), (12, 5)) == [(2, 1)]
    assert alike((4, 6), (6, 4)) == []
    assert alike((2, 0), (0, 2)) == []
