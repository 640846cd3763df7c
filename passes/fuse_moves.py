"""Fuse moves: what views and transposes do to one dimension alone becomes one index_select."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.constants import add_constant
from graphprune.graph.replay import replay_movement
from graphprune.graph.values import constant_of, is_tensor, shape_of
from graphprune.passes.base import GraphPass, finished
from graphprune.rules.movement import is_rearrangement

aten = torch.ops.aten

_PREFIX = "_positions"


@dataclass(frozen=True)
class FuseMoves(GraphPass):
    """Say what moves channels about as positions along one dimension.

    1. a chain of views, permutes and copies that starts and ends with the same shape and only
       changes the order along one dimension (channel shuffle) becomes index_select;
    2. indexing of one dimension by a constant vector of integers becomes index_select too.

    Seen as a grid, a channel shuffle couples the channels of its groups with each other; as
    positions it leaves every channel free. Each call gets a vector of its own, so that shrinking
    can renumber it.

    Left alone: chains that change nothing, and those of which a part is written to in place.
    """

    name: ClassVar[str] = "fuse-moves"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether anything was found."""
        modified = False
        for node in list(graph_module.graph.nodes):
            found = _as_selection(node) or _as_shuffle(node)
            if found is not None:
                _replace(graph_module, node, *found)
                modified = True
        return finished(graph_module, modified)


_LIFTED = (aten.lift_fresh_copy.default, aten.lift_fresh.default)

Found = tuple[fx.Node, int, torch.Tensor]
"""Source, dimension and positions of an index_select."""


def _as_selection(node: fx.Node) -> Found | None:
    """Indexing of one dimension by a constant vector, as index_select."""
    if node.target is aten.index_select.default:
        source, dim, index = node.args
    elif node.target is aten.index.Tensor:
        source, indices = node.args
        assert isinstance(indices, list | tuple)
        given = [place for place, index in enumerate(indices) if index is not None]
        if len(given) != 1:
            return None
        dim, index = given[0], indices[given[0]]
    else:
        return None
    if isinstance(index, fx.Node) and index.target in _LIFTED and not _written(index):
        index = index.args[0]  # a list of numbers in the user's code
    positions = constant_of(index)
    own = isinstance(index, fx.Node) and str(index.target).startswith(_PREFIX)
    if positions is None or own or positions.ndim != 1 or positions.dtype is not torch.int64:
        return None
    assert isinstance(source, fx.Node)
    assert isinstance(dim, int)
    dim %= len(shape_of(source))
    return source, dim, positions % shape_of(source)[dim]


def _as_shuffle(node: fx.Node) -> Found | None:
    """The longest chain of moves that ends here and permutes one dimension."""
    if not is_rearrangement(node) or any(is_rearrangement(user) for user in node.users):
        return None
    shape = shape_of(node)
    chain = [node]
    best: list[fx.Node] = []
    while is_rearrangement(chain[-1]):
        source = chain[-1].args[0]
        if not isinstance(source, fx.Node) or not is_tensor(source):
            break
        chain.append(source)
        if shape_of(source) == shape and len(chain) > 3:
            best = list(chain)
    if not best or any(_written(part) for part in best):
        return None
    *moves, source = best
    value = torch.arange(torch.Size(shape).numel()).reshape(shape)
    marks = value
    for move in reversed(moves):
        origin = move.args[0]
        assert isinstance(origin, fx.Node)
        (marks,) = replay_movement(move, origin, marks)
    for dim, size in enumerate(shape):
        first = marks.movedim(dim, 0).reshape(size, -1)[:, :1]
        positions = (first == value.movedim(dim, 0).reshape(size, -1)[:, 0]).int().argmax(1)
        if torch.equal(value.index_select(dim, positions), marks):
            still = torch.equal(positions, torch.arange(size))
            return None if still else (source, dim, positions)
    return None


def _written(node: fx.Node) -> bool:
    """Whether any user writes to the node's value in place."""
    return any(
        isinstance(user.target, torch._ops.OpOverload) and user.target._schema.is_mutable
        for user in node.users
    )


def _replace(
    graph_module: fx.GraphModule, node: fx.Node, source: fx.Node, dim: int, positions: torch.Tensor
) -> None:
    graph = graph_module.graph
    with graph.inserting_before(node):
        index = add_constant(graph_module, _PREFIX, positions, node)
        selected = graph.call_function(aten.index_select.default, (source, dim, index))
    selected.meta = dict(node.meta)
    node.replace_all_uses_with(selected)
    unused = node
    while not unused.users and unused is not source:
        before = unused.args[0]
        graph.erase_node(unused)
        assert isinstance(before, fx.Node)
        unused = before
