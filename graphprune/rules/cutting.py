"""Pieces of a tensor: slices, single positions, chunks; their bounds move with what is kept."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.values import concrete, concrete_int, shape_of
from graphprune.labels.slots import compact, first_along, split_dim, varying
from graphprune.rules.context import Context
from graphprune.rules.movement import label_move
from graphprune.rules.rule import NodeLabels, Rule, register

if TYPE_CHECKING:
    from graphprune.shrinking.rewrite import Rewriter

aten = torch.ops.aten


def label_slice(context: Context, node: fx.Node) -> NodeLabels:
    """slice/narrow: the part before the start must be shortened evenly as well.

    With a step, x[::2] beside x[1::2], the elements that one step passes go together.
    """
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim, start, end, step = _slice_bounds(node)
    size = shape_of(source)[dim]
    if step != 1 and start < size:
        reason = f"strided slice {node.name}"
        for slot in context.of(source):
            if dim not in varying(slot):
                continue
            if _one_of_each(size, start, end, step):
                runs = split_dim((slot,), dim, (size // step, step))[0]
                context.unite(runs, first_along(runs, [dim + 1]), reason)
            else:
                context.pin([slot], reason)
        return label_move(context, node)
    for slot in context.of(source):
        if slot.shape[dim] > 1 and start > 0:
            context.store.add_grid(compact(slot.narrow(dim, 0, start)))
    return label_move(context, node)


def _one_of_each(size: int, start: int, end: int, step: int) -> bool:
    """Whether a strided slice takes one element out of every run of ``step``."""
    return start < step and size % step == 0 and end > size - step + start


def _slice_bounds(node: fx.Node) -> tuple[int, int, int, int]:
    args: list[Any] = [concrete(a) for a in node.args[1:]]
    assert isinstance(node.args[0], fx.Node)
    shape = shape_of(node.args[0])
    if "narrow" in str(node.target):
        dim, start, length = args
        dim %= len(shape)
        start = start + shape[dim] if start < 0 else start
        return dim, start, start + length, 1
    dim = (args[0] if args else 0) % len(shape)
    size = shape[dim]
    start = args[1] if len(args) > 1 and args[1] is not None else 0
    end = args[2] if len(args) > 2 and args[2] is not None else size
    step = args[3] if len(args) > 3 else 1
    start = min(max(start + size if start < 0 else start, 0), size)
    end = min(max(end + size if end < 0 else end, start), size)
    return dim, start, end, step


def rewrite_slice(rewriter: Rewriter, node: fx.Node) -> None:
    """Renumber the bounds: what is kept before the start, and before the end."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim, start, end, step = _slice_bounds(node)
    old, new = rewriter.shapes(source)
    if old[dim] == new[dim]:
        return
    # A dimension that also holds the batch has another end in every batch.
    to_the_end = end == old[dim]
    if step != 1:  # whole runs are gone
        node.args = (source, dim, start, sys.maxsize if to_the_end else new[dim], step)
        return
    kept = rewriter.count_before(source, dim)
    if "narrow" in str(node.target):
        node.args = (source, dim, kept(start), kept(end) - kept(start))
    else:
        node.args = (source, dim, kept(start), sys.maxsize if to_the_end else kept(end))


def label_select(context: Context, node: fx.Node) -> NodeLabels:
    """select/unbind: what is picked out of a channel dimension stays."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    position = 1 if len(node.args) > 1 else None
    dim = concrete_int(node.args[position]) if position is not None else 0
    dim %= len(shape_of(source))
    picks_one = len(node.args) > 2
    for slot in context.of(source):
        vary = varying(slot)
        if dim not in vary:
            continue
        if len(vary) > 1 and dim != vary[-1]:
            rows = context.store.rows_of(slot, [d for d in vary if d > dim])
            context.pin([rows], f"picked by {node.name}")
        elif len(vary) == 1 and picks_one:
            context.pin([slot.select(dim, concrete_int(node.args[2]))], f"picked by {node.name}")
        elif len(vary) > 1:  # pairs (cosine and sine of rotary embeddings) go as pairs
            context.lock((slot,), [dim], f"split into single elements by {node.name}")
        else:
            context.pin([slot], f"split into single elements by {node.name}")
    moved = context.move(node, source)
    if isinstance(moved, list):
        return [tuple(s for s in labels if varying(s)) for labels in moved]
    return tuple(slot for slot in moved if varying(slot))


def rewrite_select(rewriter: Rewriter, node: fx.Node) -> None:
    """Renumber the picked index."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim = concrete_int(node.args[1]) % len(shape_of(source))
    old, new = rewriter.shapes(source)
    if old[dim] != new[dim]:
        index = concrete_int(node.args[2]) % old[dim]
        node.args = (source, dim, rewriter.count_before(source, dim)(index))


def rewrite_split(rewriter: Rewriter, node: fx.Node) -> None:
    """split, chunk and their kin: chunks as long as what each keeps."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim_argument = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    dim = concrete_int(dim_argument) % len(shape_of(source))
    old, new = rewriter.shapes(source)
    if old[dim] == new[dim]:
        return
    kept = rewriter.count_before(source, dim)
    bounds = [0]
    for part in node.meta["val"]:
        bounds.append(bounds[-1] + concrete_int(part.shape[dim]))
    sizes = [kept(b) - kept(a) for a, b in itertools.pairwise(bounds)]
    node.target = aten.split_with_sizes.default
    node.args, node.kwargs = (source, sizes, dim), {}


def label_split(context: Context, node: fx.Node) -> NodeLabels:
    """Chunks share the atoms of what they are cut from."""
    return label_move(context, node)


register(
    Rule(label_slice, rewrite=rewrite_slice, moves=True), aten.slice.Tensor, aten.narrow.default
)
register(Rule(label_select, rewrite=rewrite_select, moves=True), aten.select.int)
register(Rule(label_select, moves=True), aten.unbind.int)
register(
    Rule(label_split, rewrite=rewrite_split, moves=True),
    *(aten.split.Tensor, aten.split.sizes, aten.split_with_sizes.default, aten.chunk.default),
    *(aten.tensor_split.sections, aten.tensor_split.indices),
)
