"""Tensors laid side by side, and padding, which lays constants beside one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import fx

from graphprune.graph.schema import set_argument
from graphprune.graph.values import concrete, concrete_int, shape_of
from graphprune.labels.slots import Labels, Slot, clean, compact, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import Rule, overloads, register

if TYPE_CHECKING:
    from graphprune.shrinking.rewrite import Rewriter

aten = torch.ops.aten


def label_concatenate(context: Context, node: fx.Node) -> Labels:
    """cat and stack: side by side along one dimension, equal along all others."""
    sources = [n for n in node.args[0] if isinstance(n, fx.Node)]  # type: ignore[union-attr]
    stacks = "stack" in str(node.target)
    rank = len(shape_of(node))
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    dim = concrete_int(given) % rank
    operands, shapes = [], []
    for source in sources:
        labels, shape = context.of(source), shape_of(source)
        if len(shape) != rank and not stacks:  # torch lets empty 1-D tensors through
            continue
        if stacks:
            labels = tuple(slot.unsqueeze(dim) for slot in labels)
            shape = (*shape[:dim], 1, *shape[dim:])
        operands.append(labels)
        shapes.append(shape)
    reason = f"concatenation {node.name}"
    across = [tuple(s for s in labels if s.shape[dim] == 1) for labels in operands]
    flat = [(*shape[:dim], 1, *shape[dim + 1 :]) for shape in shapes]
    result = list(context.join(list(zip(across, flat, strict=True)), reason))
    result.extend(_side_by_side(context, operands, shapes, dim, reason))
    for slot in result:
        context.store.add_grid(slot)
    return clean(result)


def _side_by_side(
    context: Context, operands: list[Labels], shapes: list[tuple[int, ...]], dim: int, reason: str
) -> list[Slot]:
    """Slots that vary along the concatenated dimension, laid end to end."""
    own = [[s for s in labels if s.shape[dim] > 1] for labels in operands]
    shared = {tuple(d for d in varying(s) if d != dim) for slots in own for s in slots}
    if not shared:
        return []
    others = {d for dims in shared for d in dims}
    if (
        any(len(slots) > 1 for slots in own)
        or len(shared) > 1
        or (others and any(len(slots) != 1 for slots in own))
    ):
        context.pin([s for slots in own for s in slots], f"{reason}: unlike grids side by side")
        return []
    pieces = []
    rank = len(shapes[0])
    outer = [max((s.shape[d] for slots in own for s in slots), default=1) for d in range(rank)]
    for slots, shape in zip(own, shapes, strict=True):
        piece_shape = [shape[d] if d == dim else outer[d] for d in range(rank)]
        piece = slots[0] if slots else torch.full((1,) * rank, -1)
        pieces.append(piece.expand(piece_shape))
    return [compact(torch.cat(pieces, dim))]


def label_pad(context: Context, node: fx.Node) -> Labels:
    """constant_pad_nd: the new border along a labelled dimension gets atoms of its own."""
    source, pad = node.args[0], concrete(node.args[1])
    assert isinstance(source, fx.Node)
    rank = len(shape_of(source))
    constant = len(node.args) < 3 or not isinstance(node.args[2], str) or node.args[2] == "constant"
    result = []
    for slot in context.of(source):
        vary = varying(slot)
        amounts = {rank - 1 - i // 2: (pad[i], pad[i + 1]) for i in range(0, len(pad), 2)}
        padded = [d for d in vary if amounts.get(d, (0, 0)) != (0, 0)]
        if not padded:
            result.append(slot)
        elif constant and len(padded) == 1 and min(amounts[padded[0]]) >= 0:
            (dim,) = padded
            result.append(_bordered(context, slot, dim, amounts[dim]))
        else:
            context.pin([slot], f"padding {node.name}")
    return clean(result)


def _bordered(context: Context, slot: Slot, dim: int, widths: tuple[int, int]) -> Slot:
    """A slot with fresh atoms before and after it along ``dim``, in each of its rows."""
    shape = list(slot.shape)
    shape[dim] = sum(widths)
    fresh = context.store.allocate(math.prod(shape)).reshape(shape)
    before, after = fresh.split(widths, dim)
    wide = compact(torch.cat([before, slot, after], dim))
    for grid in (before, after, wide):
        context.store.add_grid(grid)
    return wide


def rewrite_pad(rewriter: Rewriter, node: fx.Node) -> None:
    """Border widths become the number of border channels kept."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    pad = list(concrete(node.args[1]))
    old, _ = rewriter.shapes(node)
    given = shape_of(source)
    changed = False
    for position in range(0, len(pad), 2):
        dim = len(old) - 1 - position // 2
        full, kept_shape = rewriter.shapes(node)
        if full[dim] == kept_shape[dim] or not (pad[position] or pad[position + 1]):
            continue
        kept = rewriter.count_before(node, dim)
        before = kept(pad[position])
        after = kept(full[dim]) - kept(pad[position] + given[dim])
        pad[position], pad[position + 1], changed = before, after, True
    if changed:
        set_argument(node, "pad", pad)


register(
    Rule(label_concatenate),
    *overloads("cat", "concat", "concatenate", "stack"),
)
register(Rule(label_pad, rewrite=rewrite_pad), aten.constant_pad_nd.default, aten.pad.default)
