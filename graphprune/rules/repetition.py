"""Elements repeated along a dimension: one kernel, or one index, for all channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.schema import get_argument
from graphprune.graph.values import is_tensor, shape_of, static_dims
from graphprune.labels.slots import Labels, Shape, along, clean, varying
from graphprune.rules.context import Context
from graphprune.rules.contraction import CONVOLUTIONS
from graphprune.rules.movement import is_view, label_move, rewrite_sizes
from graphprune.rules.pointwise import is_pointwise
from graphprune.rules.rule import NodeLabels, Rule, overloads, register
from graphprune.rules.scatter import ELEMENT_OPS

if TYPE_CHECKING:
    from graphprune.shrinking.rewrite import Rewriter

aten = torch.ops.aten

_COPIES = frozenset(overloads("clone", "contiguous", "flip"))


def label_expand(context: Context, node: fx.Node) -> NodeLabels:
    """expand, repeat: what is repeated for every channel is as long as there are channels.

    Only where it all becomes an index, or a convolution's kernel: else what the size should agree
    with is unknown.
    Where rows are labelled apart from their columns, the one key head of all queries is as many
    rows as there are queries. (Several key heads are rows themselves, each for its queries.)
    """
    moved = label_move(context, node)
    assert isinstance(moved, tuple)
    dims = {dim for slot in moved for dim in varying(slot)}
    one_row = bool(context.divisions) and len(dims) == 1
    if not one_row and not _is_for_channels(node):
        return moved
    made, given = shape_of(node), _given(node.args[0], len(shape_of(node)))
    fresh = [
        along(context.store.allocate(size), dim, len(made))
        for dim, (size, fixed) in enumerate(zip(made, static_dims(node), strict=True))
        if fixed and size > 1 and given[dim] == 1
    ]
    return clean([*moved, *fresh])


def _given(source: Any, rank: int) -> Shape:
    """The shape of what is repeated, with the dimensions that repeating puts before it."""
    shape = shape_of(source)
    return (1,) * (rank - len(shape)) + shape


def _is_for_channels(node: fx.Node) -> bool:
    """Whether all that becomes of a value goes where there is an element for every channel."""

    def fits(user: fx.Node) -> bool:
        if user.target in ELEMENT_OPS:
            return get_argument(user, "index") is node
        if user.target in CONVOLUTIONS:
            return user.args[0] is not node
        passed_on = is_view(user.target) or user.target in _COPIES or is_pointwise(user.target)
        alone = sum(map(is_tensor, user.all_input_nodes)) == 1  # besides free sizes
        return passed_on and alone and _is_for_channels(user)

    return bool(node.users) and all(map(fits, node.users))


def rewrite_repeat(rewriter: Rewriter, node: fx.Node) -> None:
    """A single element is repeated as often as the result is long."""
    old, new = rewriter.shapes(node)
    if old != new:
        source, repeats = node.args[0], node.args[1]
        assert isinstance(source, fx.Node)
        given = _given(rewriter.originals[source.name], len(old))
        fitted = [
            after if size == 1 and before != after else times
            for size, before, after, times in zip(given, old, new, repeats, strict=True)  # type: ignore[arg-type]
        ]
        node.args = (source, fitted)


def label_expand_as(context: Context, node: fx.Node) -> Labels:
    """expand_as: as long as the other tensor, whatever that loses."""
    return context.pointwise(node.args[:2], f"expanded by {node.name}")


register(Rule(label_expand_as), aten.expand_as.default)
register(Rule(label_expand, rewrite=rewrite_sizes, moves=True), aten.expand.default)
register(Rule(label_expand, rewrite=rewrite_repeat, moves=True), aten.repeat.default)
