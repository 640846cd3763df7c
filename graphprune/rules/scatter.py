"""Elements picked or added along one dimension by an index: all other dimensions stay in line."""

from __future__ import annotations

from torch import fx

from graphprune.graph.schema import get_argument, has_argument
from graphprune.graph.values import concrete_int, is_tensor, shape_of
from graphprune.labels.slots import Labels, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import Rule, overloads, register

_BY_ELEMENT = (
    *("gather", "scatter", "scatter_add", "scatter_reduce"),
    *("scatter_", "scatter_add_", "scatter_reduce_"),
)
_BY_ROW = ("index_add", "index_add_", "index_copy", "index_copy_", "index_reduce", "index_reduce_")
ELEMENT_OPS = frozenset(overloads(*_BY_ELEMENT))
"""Operators whose index has a place for every element."""


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


register(Rule(label_by_element), *ELEMENT_OPS)
register(Rule(label_by_row), *overloads(*_BY_ROW))
