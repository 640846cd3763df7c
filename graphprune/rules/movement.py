"""Data movement: the very same operation is run on the labels, so most ops need no rule at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.schema import get_argument, set_argument
from graphprune.graph.values import concrete, concrete_int, is_tensor, shape_of
from graphprune.labels.slots import Labels, clean, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register

if TYPE_CHECKING:
    from graphprune.shrinking.rewrite import Rewriter

aten = torch.ops.aten

# Movement that copies, so that torch's schema does not show it as a view.
_COPIES = ("clone", "flip")


_KEEPING = (*overloads("clone"), *overloads("contiguous"))


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
        views = node.target.name().startswith(("aten::view", "aten::reshape"))
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


def label_roll(context: Context, node: fx.Node) -> NodeLabels:
    """roll: a labelled dimension that is rolled stays whole, its shift is a fixed number."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dims = concrete(node.args[2]) if len(node.args) > 2 else []
    rank = len(shape_of(source))
    rolled = {d % rank for d in dims} or set(range(rank))
    labels = context.lock(context.of(source), rolled, f"rolled by {node.name}")
    return tuple(slot for slot in labels if not rolled & set(varying(slot)))


def label_diagonal(context: Context, node: fx.Node) -> NodeLabels:
    """diagonal: where both dimensions hold channels, the first of one goes with that of the other.

    A dimension that alone holds channels stays whole, as do both beside the middle (an offset).
    """
    source = node.args[0]
    assert isinstance(source, fx.Node)
    shape = shape_of(source)
    dims = [get_argument(node, name) % len(shape) for name in ("dim1", "dim2")]
    labels = context.of(source)
    along = [[slot for slot in labels if dim in varying(slot)] for dim in dims]
    plain = all(len(found) == 1 and len(varying(found[0])) == 1 for found in along)
    if plain and shape[dims[0]] == shape[dims[1]] and get_argument(node, "offset") == 0:
        first, second = (found[0].reshape(-1) for found in along)
        context.unite(first, second, f"diagonal {node.name}")
        moved = label_move(context, node)
        assert isinstance(moved, tuple)
        twice = [slot for slot in moved if varying(slot) == (len(shape) - 2,)]
        return tuple(slot for slot in moved if slot is not twice[-1])
    context.lock(labels, dims, f"diagonal {node.name}")
    return label_move(context, node)


def label_windows(context: Context, node: fx.Node) -> NodeLabels:
    """unfold: the dimension that windows are cut from stays whole."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim = concrete_int(node.args[1]) % max(len(shape_of(source)), 1)
    context.lock(context.of(source), [dim], f"windows of {node.name}")
    return label_move(context, node)


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


def label_pixel_unshuffle(context: Context, node: fx.Node) -> NodeLabels:
    """pixel_unshuffle: pixels become channels, in step with those they come from; space stays."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    rank = len(shape_of(source))
    space = [slot for slot in context.of(source) if max(varying(slot), default=0) >= rank - 2]
    context.pin(space, f"pixel unshuffle {node.name}")
    return label_move(context, node)


register(MOVE, *overloads(*_COPIES), aten.repeat_interleave.self_int)
register(Rule(label_roll), aten.roll.default)
register(Rule(label_diagonal, rewrite=rewrite_sizes, moves=True), aten.diagonal.default)
register(Rule(label_windows, rewrite=rewrite_sizes, moves=True), aten.unfold.default)
register(Rule(label_pixel_shuffle), aten.pixel_shuffle.default)
register(Rule(label_pixel_unshuffle, moves=True), aten.pixel_unshuffle.default)
