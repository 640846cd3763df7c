"""Elements picked or added along one dimension by an index: all other dimensions stay in line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.schema import get_argument, has_argument
from graphprune.graph.values import concrete_int, is_tensor, shape_of, static_dims
from graphprune.labels.slots import Labels, along, clean, varying
from graphprune.rules.context import Context
from graphprune.rules.movement import is_view, label_move, rewrite_sizes
from graphprune.rules.rule import NodeLabels, Rule, overloads, register

if TYPE_CHECKING:
    from graphprune.shrinking.rewrite import Rewriter

aten = torch.ops.aten

_BY_ELEMENT = (
    *("gather", "scatter", "scatter_add", "scatter_reduce"),
    *("scatter_", "scatter_add_", "scatter_reduce_"),
)
_BY_ROW = ("index_add", "index_add_", "index_copy", "index_copy_", "index_reduce", "index_reduce_")
_COPIES = frozenset(overloads("clone", "contiguous", "to", "_to_copy"))
_ELEMENT_OPS = frozenset(overloads(*_BY_ELEMENT))


def _aligned(context: Context, node: fx.Node, names: tuple[str, ...]) -> Labels:
    """Join of tensors that agree on every dimension but the indexed one, which stays."""
    base = get_argument(node, "self")
    rank = len(shape_of(base))
    dim = concrete_int(get_argument(node, "dim")) % rank
    shapes, operands = [], []
    for name in names:
        given = get_argument(node, name) if has_argument(node, name) else None
        if isinstance(given, fx.Node) and is_tensor(given):
            shapes.append(shape_of(given))
            operands.append(context.of(given))
    # An index smaller than what it reaches into leaves the rest of a dimension alone.
    uneven = {d for d in range(rank) if len({shape[d] for shape in shapes}) > 1} | {dim}
    reason = f"indexed by {node.name}"
    kept = [context.lock(labels, uneven, reason) for labels in operands]
    flat = [tuple(1 if d in uneven else n for d, n in enumerate(shape)) for shape in shapes]
    kept = [tuple(s for s in labels if not uneven & set(varying(s))) for labels in kept]
    return context.join(list(zip(kept, flat, strict=True)), reason)


def label_by_element(context: Context, node: fx.Node) -> Labels:
    """gather, scatter: the index has a place for every element, of every channel."""
    return _aligned(context, node, ("self", "index", "src"))


def label_by_row(context: Context, node: fx.Node) -> Labels:
    """index_add and its kind: whole rows are added, whatever channels they hold."""
    index = get_argument(node, "index")
    context.pin(context.of(index), f"used as an index by {node.name}")
    return _aligned(context, node, ("self", "source"))


def label_expand(context: Context, node: fx.Node) -> NodeLabels:
    """expand, repeat: an index repeated for every channel is as long as there are channels.

    Only where such an index is all that it makes: else what the size should agree with is unknown.
    Where rows are labelled apart from their columns, the one key head of all queries is as many
    rows as there are queries. (Several key heads are rows themselves, each for its queries.)
    """
    moved = label_move(context, node)
    assert isinstance(moved, tuple)
    dims = {dim for slot in moved for dim in varying(slot)}
    one_row = bool(context.divisions) and len(dims) == 1
    if not one_row and not _only_an_index(node):
        return moved
    source: Any = node.args[0]
    made, given = shape_of(node), shape_of(source)
    given = (1,) * (len(made) - len(given)) + given
    fresh = [
        along(context.store.allocate(size), dim, len(made))
        for dim, (size, fixed) in enumerate(zip(made, static_dims(node), strict=True))
        if fixed and size > 1 and given[dim] == 1
    ]
    return clean([*moved, *fresh])


def _only_an_index(node: fx.Node) -> bool:
    """Whether all that becomes of a value is an index of a gather or scatter."""

    def fits(user: fx.Node) -> bool:
        if user.target in _ELEMENT_OPS:
            return get_argument(user, "index") is node
        moved = is_view(user.target) or user.target in _COPIES
        alone = sum(map(is_tensor, user.all_input_nodes)) == 1  # besides free sizes
        return moved and alone and _only_an_index(user)

    return bool(node.users) and all(map(fits, node.users))


def rewrite_repeat(rewriter: Rewriter, node: fx.Node) -> None:
    """A single element is repeated as often as the result is long."""
    old, new = rewriter.shapes(node)
    if old != new:
        source, repeats = node.args[0], node.args[1]
        assert isinstance(source, fx.Node)
        given = shape_of(rewriter.originals[source.name])
        given = (1,) * (len(old) - len(given)) + given
        fitted = [
            after if size == 1 and before != after else times
            for size, before, after, times in zip(given, old, new, repeats, strict=True)  # type: ignore[arg-type]
        ]
        node.args = (source, fitted)


def label_expand_as(context: Context, node: fx.Node) -> Labels:
    """expand_as: as long as the other tensor, whatever that loses."""
    return context.pointwise(node.args[:2], f"expanded by {node.name}")


register(Rule(label_by_element), *_ELEMENT_OPS)
register(Rule(label_by_row), *overloads(*_BY_ROW))
register(Rule(label_expand_as), aten.expand_as.default)
register(Rule(label_expand, rewrite=rewrite_sizes, moves=True), aten.expand.default)
register(Rule(label_expand, rewrite=rewrite_repeat, moves=True), aten.repeat.default)
