"""Data movement: the very same operation is run on the labels, so most ops need no rule at all."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.labels.slots import Labels, Slot, clean, compact, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register
from graphprune.schema import set_argument
from graphprune.values import concrete, concrete_int, is_tensor, shape_of

if TYPE_CHECKING:
    from graphprune.rewrite import Rewriter

aten = torch.ops.aten

# Movement that copies, so that torch's schema does not show it as a view.
_COPIES = ("clone", "flip", "pixel_unshuffle", "_unsafe_view", "tile")


_KEEPING = (*overloads("clone"), *overloads("_unsafe_view"), *overloads("contiguous"))


def is_view(target: object) -> bool:
    """Whether the op's first result is a view of its first argument, by torch's own schema."""
    if not isinstance(target, torch._ops.OpOverload):
        return False
    schema = target._schema
    if not schema.arguments or not schema.returns:
        return False
    given, result = schema.arguments[0].alias_info, schema.returns[0].alias_info
    if given is None or result is None or result.is_write:
        return False
    return not target.name().startswith(("aten::view_as_", "aten::real", "aten::imag"))


def is_rearrangement(node: fx.Node) -> bool:
    """Whether the call lays all elements of its first argument out anew, each once."""
    if node.op != "call_function" or not (is_view(node.target) or node.target in _KEEPING):
        return False
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or not is_tensor(source) or not is_tensor(node):
        return False
    alike = torch.Size(shape_of(source)).numel() == torch.Size(shape_of(node)).numel()
    return alike and source.meta["val"].dtype == node.meta["val"].dtype


def label_move(context: Context, node: fx.Node) -> NodeLabels:
    """Run the op on the labels of its first argument."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    moved = context.move(node, source)
    for labels in moved if isinstance(moved, list) else [moved]:
        for slot in labels:
            context.store.add_grid(slot)
    return moved


def rewrite_sizes(rewriter: Rewriter, node: fx.Node) -> None:
    """Replace the sizes written into a view, expand, reshape or factory call by the kept ones.

    A symbolic size becomes -1, which torch infers: it can never be shrunk twice.
    """
    assert isinstance(node.target, torch._ops.OpOverload)
    for position, argument in enumerate(node.target._schema.arguments):
        if argument.name not in ("size", "shape", "sizes") or position >= len(node.args):
            continue
        sizes = node.args[position]
        if not isinstance(sizes, list | tuple):
            continue
        old, new = rewriter.shapes(node)
        if old == new:
            source = node.args[0] if node.args else None
            if not isinstance(source, fx.Node) or not rewriter.shrinks(source):
                continue
        if len(sizes) != len(new):  # unflatten's sizes: the dimensions it makes of one
            first = concrete_int(node.args[1]) % len(shape_of(node.args[0]))  # type: ignore[arg-type]
            new = new[first : first + len(sizes)]
        views = node.target.name().startswith(("aten::view", "aten::reshape", "aten::_unsafe"))
        symbolic = [i for i, size in enumerate(sizes) if isinstance(size, fx.Node)]
        resized: list[Any] = []
        for index, size in enumerate(sizes):
            if index in symbolic:
                resized.append(-1 if views and len(symbolic) == 1 else size)
            elif size == -1 and not (views and symbolic):
                resized.append(-1)
            else:
                resized.append(new[index])
        set_argument(node, argument.name, resized)


MOVE = Rule(label_move, rewrite=rewrite_sizes, moves=True)


def label_slice(context: Context, node: fx.Node) -> NodeLabels:
    """slice/narrow: the part before the start must be shortened evenly as well."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim, start, _end, step = _slice_bounds(node)
    if step != 1:
        for slot in context.of(source):
            if dim in varying(slot):
                context.pin([slot], f"strided slice {node.name}")
    for slot in context.of(source):
        if slot.shape[dim] > 1 and start > 0:
            context.store.add_grid(compact(slot.narrow(dim, 0, start)))
    return label_move(context, node)


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
    if old[dim] == new[dim] or step != 1:
        return
    kept = rewriter.count_before(source, dim)
    if "narrow" in str(node.target):
        node.args = (source, dim, kept(start), kept(end) - kept(start))
    else:
        node.args = (source, dim, kept(start), kept(end))


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
    out_shape = shape_of(node)
    constant = len(node.args) < 3 or not isinstance(node.args[2], str) or node.args[2] == "constant"
    result = []
    for slot in context.of(source):
        vary = varying(slot)
        amounts = {rank - 1 - i // 2: (pad[i], pad[i + 1]) for i in range(0, len(pad), 2)}
        padded = [d for d in vary if amounts.get(d, (0, 0)) != (0, 0)]
        if not padded:
            result.append(slot)
        elif constant and len(vary) == 1 and min(amounts[vary[0]]) >= 0:
            dim = vary[0]
            before, after = amounts[dim]
            fresh = context.store.allocate(before + after)
            line = torch.cat([fresh[:before], slot.reshape(-1), fresh[before:]])
            shape = [1] * rank
            shape[dim] = out_shape[dim]
            result.append(line.reshape(shape))
        else:
            context.pin([slot], f"padding {node.name}")
    return clean(result)


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


def label_roll(context: Context, node: fx.Node) -> NodeLabels:
    """roll: a labelled dimension that is rolled stays whole, its shift is a fixed number."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dims = concrete(node.args[2]) if len(node.args) > 2 else []
    rank = len(shape_of(source))
    rolled = {d % rank for d in dims} or set(range(rank))
    labels = context.lock(context.of(source), rolled, f"rolled by {node.name}")
    return tuple(slot for slot in labels if not rolled & set(varying(slot)))


def label_pixel_shuffle(context: Context, node: fx.Node) -> Labels:
    """pixel_shuffle: the factor**2 channels that become one channel's pixels go together."""
    source, factor = node.args[0], concrete_int(node.args[1])
    assert isinstance(source, fx.Node)
    rank, channels = len(shape_of(source)), shape_of(source)[-3]
    result = []
    for slot in context.of(source):
        if varying(slot) != (rank - 3,):
            context.pin([slot], f"pixel shuffle {node.name}")
            continue
        grid = slot.reshape(channels // factor**2, factor**2)
        context.unite(grid, grid[:, :1], f"pixel shuffle {node.name}")
        shape = [1] * rank
        shape[rank - 3] = channels // factor**2
        result.append(grid[:, 0].reshape(shape))
    return clean(result)


register(MOVE, *overloads(*_COPIES), aten.repeat_interleave.self_int)
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
register(
    Rule(label_concatenate),
    *overloads("cat", "concat", "concatenate", "stack"),
)
register(Rule(label_pad, rewrite=rewrite_pad), aten.constant_pad_nd.default, aten.pad.default)
register(Rule(label_roll), aten.roll.default)
register(Rule(label_pixel_shuffle), aten.pixel_shuffle.default)
