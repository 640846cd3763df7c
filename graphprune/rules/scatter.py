"""Elements picked, added or written by an index or a mask: all other dimensions stay in line."""

from __future__ import annotations

from torch import fx

from graphprune.graph.schema import get_argument, has_argument
from graphprune.graph.values import concrete_int, is_tensor, shape_of
from graphprune.labels.slots import Labels, pad_left, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import Rule, overloads, register

_BY_ELEMENT = (
    *("gather", "scatter", "scatter_add", "scatter_reduce"),
    *("scatter_", "scatter_add_", "scatter_reduce_"),
)
_BY_ROW = (
    *("index_add", "index_copy", "index_reduce", "index_fill"),
    *("index_add_", "index_copy_", "index_reduce_", "index_fill_"),
)
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
    """index_add and its kind: whole rows are added or filled, whatever channels they hold."""
    index = get_argument(node, "index")
    context.pin(context.of(index), f"used as an index by {node.name}")
    return _aligned(context, node, ("self", "source"))


def label_by_mask(context: Context, node: fx.Node) -> Labels:
    """masked_scatter: elements of a source in their order, to where a mask is true.

    Behind the last dimension along which the mask has a size, whole rows go over; there the source
    has to be as large. All else stays.
    """
    base, mask, source = (get_argument(node, name) for name in ("self", "mask", "source"))
    shape, given = shape_of(base), shape_of(source)
    if shape != shape_of(node):
        raise NotImplementedError("a mask that adds dimensions")
    marked = (1,) * (len(shape) - len(shape_of(mask))) + shape_of(mask)
    rows = 0
    while rows < min(len(shape), len(given)) and marked[-1 - rows] == 1:
        if shape[-1 - rows] != given[-1 - rows]:
            break
        rows += 1
    reason = f"indexed by {node.name}"
    context.pin(context.of(mask), reason)
    tails = [
        context.lock_out((context.of(tensor), sizes), range(len(sizes) - rows), reason)
        for tensor, sizes in ((base, shape), (source, given))
    ]
    return pad_left(context.join(tails, f"written by {node.name}"), len(shape))


register(Rule(label_by_mask), *overloads("masked_scatter", "masked_scatter_"))
register(Rule(label_by_element), *ELEMENT_OPS)
register(Rule(label_by_row), *overloads(*_BY_ROW))
