"""Lookups: what is indexed keeps its length, all other dimensions move along."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.replay import replay
from graphprune.graph.values import concrete, constant_of, is_tensor, shape_of
from graphprune.labels.slots import (
    Labels,
    Slot,
    clean,
    compact,
    pad_left,
    unsqueeze,
    varying,
)
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register

if TYPE_CHECKING:
    from graphprune.shrinking.rewrite import Rewriter

aten = torch.ops.aten


def _zeros(node: fx.Node, *, source: fx.Node, labels: torch.Tensor) -> Any:
    """Stand-ins for running a lookup on labels: every index is 0, which labels do not depend on.

    A mask marks the first element alone, which is the same.
    """
    if node is source:
        return labels
    if not is_tensor(node):
        return concrete(node)
    if not _is_mask(node):
        return torch.zeros(shape_of(node), dtype=torch.int64)
    mask = torch.zeros(shape_of(node), dtype=torch.bool)
    mask.view(-1)[:1] = True
    return mask


def _is_mask(index: fx.Node) -> bool:
    return index.meta["val"].dtype in (torch.bool, torch.uint8)


def _places(indices: Sequence[Any]) -> tuple[list[int], int]:
    """Dimensions that indices and masks stand for, and how many the result has in their stead."""
    dims: list[int] = []
    dim = rank = 0
    for index in indices:
        mask = isinstance(index, fx.Node) and _is_mask(index)
        covers = len(shape_of(index)) if mask else 1
        if isinstance(index, fx.Node):
            dims += range(dim, dim + covers)
            rank = max(rank, 1 if mask else len(shape_of(index)))
        dim += covers
    return dims, rank


def _look_up(
    context: Context, node: fx.Node, source: fx.Node, indexed: list[int], kept: Labels
) -> Labels:
    result = []
    for slot in kept:
        if set(varying(slot)) & set(indexed):
            continue
        stand_in = functools.partial(_zeros, source=source, labels=slot.expand(shape_of(source)))
        result.append(compact(replay(node, stand_in)))
    return clean(result)


def _pin_indices(context: Context, node: fx.Node, source: fx.Node) -> None:
    _pin_indices_but(context, node, (source,))


def _pin_indices_but(context: Context, node: fx.Node, others: tuple[fx.Node, ...]) -> None:
    for index in node.all_input_nodes:
        if index not in others:
            context.pin(context.of(index), f"used as an index by {node.name}")


def label_index(context: Context, node: fx.Node) -> Labels:
    """x[i, :, j], x[mask]: the dimensions with an index are locked."""
    source, indices = node.args[0], node.args[1]
    assert isinstance(source, fx.Node)
    assert isinstance(indices, list | tuple)
    _pin_indices(context, node, source)
    dims, _ = _places(indices)
    kept = context.lock(context.of(source), dims, f"indexed by {node.name}")
    return _look_up(context, node, source, dims, kept)


def label_index_select(context: Context, node: fx.Node) -> Labels:
    """index_select and gather along one dimension."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim = int(concrete(node.args[1])) % len(shape_of(source))
    _pin_indices(context, node, source)
    kept = context.lock(context.of(source), [dim], f"indexed by {node.name}")
    return _look_up(context, node, source, [dim], kept)


def _positions(node: fx.Node) -> torch.Tensor | None:
    """The constant vector by which index_select alone indexes, None where there is none."""
    index = node.args[2]
    assert isinstance(index, fx.Node)
    found = constant_of(index) if node.target is aten.index_select.default else None
    return found if found is not None and found.ndim == 1 and len(index.users) == 1 else None


def label_select_constant(context: Context, node: fx.Node) -> Labels:
    """index_select by a constant vector only moves channels about; gather locks them."""
    positions = _positions(node)
    if positions is None:
        return label_index_select(context, node)
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim = int(concrete(node.args[1])) % len(shape_of(source))
    labels = []
    for slot in context.of(source):
        moved = slot.index_select(dim, positions.cpu()) if slot.shape[dim] > 1 else slot
        labels.append(compact(moved))
        context.store.add_grid(labels[-1])
    return clean(labels)


def leaf_positions(context: Context, node: fx.Node, leaf: fx.Node) -> list[Slot] | None:
    """Constant positions hold no channels."""
    del context
    return [] if leaf is node.args[2] and _positions(node) is not None else None


def holds_positions(leaf: fx.Node) -> bool:
    """Whether a constant holds positions alone, which a cut renumbers."""
    readers = [user for user in leaf.users if user.target is aten.index_select.default]
    return any(user.args[2] is leaf and _positions(user) is not None for user in readers)


def rewrite_positions(rewriter: Rewriter, node: fx.Node) -> None:
    """What is selected is renumbered among what is kept."""
    source, index = node.args[0], node.args[2]
    assert isinstance(source, fx.Node)
    assert isinstance(index, fx.Node)
    original = rewriter.originals[node.name]
    positions = _positions(original)
    dim = int(concrete(node.args[1])) % len(shape_of(original))
    if positions is None or not (rewriter.shrinks(source) or rewriter.shrinks(node)):
        return
    kept = rewriter.kept_positions(node, dim)
    before = rewriter.count_before(source, dim)
    numbers = [before(position) for position in positions[kept].tolist()]
    rewriter.constants[str(index.target)] = torch.tensor(numbers, device=positions.device)


def label_embedding(context: Context, node: fx.Node) -> Labels:
    """embedding(table (V, D), index): the vocabulary stays, the features are brought forth."""
    table, index = node.args[:2]
    assert isinstance(table, fx.Node)
    assert isinstance(index, fx.Node)
    context.pin(context.of(index), f"used as an index by {node.name}")
    kept = context.lock(context.of(table), [0], f"vocabulary of {node.name}")
    rank = len(shape_of(node))
    labels = []
    for slot in kept:
        if 0 in varying(slot):
            continue
        shape = [1] * rank
        shape[-1] = slot.shape[1]
        labels.append(slot.reshape(shape))
        context.producers.append((node, labels[-1]))
    return clean(labels)


def label_index_put(context: Context, node: fx.Node) -> Labels:
    """x[i, j] = y, x[:, mask] = y: dimensions with an index stay; the others are those of y.

    Only where all indices are side by side, so that y has theirs in their place.
    """
    source, indices, values = node.args[:3]
    assert isinstance(source, fx.Node)
    assert isinstance(values, fx.Node)
    assert isinstance(indices, list | tuple)
    _pin_indices_but(context, node, (source, values))
    dims, rank = _places(indices)
    shape, given = shape_of(source), shape_of(values)
    if not dims or dims != [*range(dims[0], dims[-1] + 1)]:
        raise NotImplementedError("an index behind a slice")
    size = len(shape) - len(dims) + rank
    reason = f"indexed by {node.name}"
    put = pad_left(context.of(values), size), (1,) * (size - len(given)) + given
    sides = [
        context.lock_out((context.of(source), shape), dims, reason),
        context.lock_out(put, range(dims[0], dims[0] + rank), reason),
    ]
    joint = context.join(sides, f"written by {node.name}")
    return unsqueeze(joint, *dims)


def label_embedding_bag(context: Context, node: fx.Node) -> NodeLabels:
    """embedding_bag(table (V, D), …): sums, means or maxima of rows; three more outputs count."""
    table = node.args[0]
    assert isinstance(table, fx.Node)
    _pin_indices(context, node, table)
    kept = context.lock(context.of(table), [0], f"vocabulary of {node.name}")
    labels = tuple(slot for slot in kept if 0 not in varying(slot))
    context.producers.extend((node, slot) for slot in labels)
    return [labels, *(() for _ in node.meta["val"][1:])]


register(Rule(label_index), *overloads("index"))
register(Rule(label_index_put), *overloads("index_put", "index_put_"))
register(Rule(label_embedding_bag), *overloads("embedding_bag", "_embedding_bag"))
register(
    Rule(label_select_constant, rewrite=rewrite_positions, leaf=leaf_positions),
    aten.index_select.default,
)
register(Rule(label_embedding), aten.embedding.default)
