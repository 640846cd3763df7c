"""Contractions: linear, matrix products, convolutions. All are reduce(join) in one index space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.origin import leads_to_parameter
from graphprune.graph.schema import get_argument, set_argument
from graphprune.graph.values import concrete, is_tensor, shape_of
from graphprune.labels.slots import (
    Labels,
    Shape,
    Slot,
    clean,
    merge_dims,
    pad_left,
    split_dim,
    unsqueeze,
    varying,
)
from graphprune.rules.context import Context
from graphprune.rules.pointwise import is_pointwise
from graphprune.rules.rule import Rule, overloads, register

if TYPE_CHECKING:
    from graphprune.shrinking.rewrite import Rewriter

aten = torch.ops.aten


def contract(
    context: Context,
    node: fx.Node,
    operands: list[tuple[Labels, Shape]],
    reduced: list[int],
) -> Labels:
    """Multiply operands in their joint index space and sum over ``reduced``."""
    joint = context.multiply(operands, f"contraction {node.name}", reduced)
    return context.reduce(joint, reduced)


def _add_bias(context: Context, node: fx.Node, labels: Labels, bias: Any, dim: int) -> Labels:
    if not isinstance(bias, fx.Node):
        return labels
    rank = len(shape_of(node))
    dim %= rank
    shape = [1] * rank
    (size,) = shape_of(bias)
    shape[dim] = size
    laid = tuple(slot.reshape(shape) for slot in context.of(bias))
    return context.join([(labels, shape_of(node)), (laid, tuple(shape))], f"bias of {node.name}")


def _produced(context: Context, node: fx.Node, labels: Labels, dim: int) -> Labels:
    """Note the output channels that this node brings forth."""
    dim %= len(shape_of(node))
    for slot in labels:
        if dim in varying(slot):
            context.producers.append((node, slot))
    return labels


def label_linear(context: Context, node: fx.Node) -> Labels:
    """linear(x, weight (O, I), bias): joint index space (..., O, I)."""
    x, weight = node.args[0], node.args[1]
    bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    assert isinstance(x, fx.Node)
    assert isinstance(weight, fx.Node)
    shape, matrix = shape_of(x), shape_of(weight)
    rank = len(shape) + 1
    left = (unsqueeze(context.of(x), -2), (*shape[:-1], 1, shape[-1]))
    extra = (1,) * (rank - 2)
    right = (pad_left(context.of(weight), rank), (*extra, *matrix))
    labels = contract(context, node, [left, right], [rank - 1])
    labels = _add_bias(context, node, labels, bias, -1)
    return _produced(context, node, labels, -1)


def label_matmul(context: Context, node: fx.Node) -> Labels:
    """matmul, mm, bmm: joint index space (..., M, K, N), with missing M or N of size 1."""
    left, right = node.args[-2:]
    assert isinstance(left, fx.Node)
    assert isinstance(right, fx.Node)
    return _matmul(context, node, left, right)


def _matmul(context: Context, node: fx.Node, left: fx.Node, right: fx.Node) -> Labels:
    x, y = context.of(left), context.of(right)
    x_shape, y_shape = shape_of(left), shape_of(right)
    vector_left, vector_right = len(x_shape) == 1, len(y_shape) == 1
    if vector_left:
        x, x_shape = unsqueeze(x, 0), (1, *x_shape)
    if vector_right:
        y, y_shape = unsqueeze(y, -1), (*y_shape, 1)
    rank = max(len(x_shape), len(y_shape)) + 1
    x, x_shape = unsqueeze(x, -1), (*x_shape, 1)
    y, y_shape = unsqueeze(y, -3), (*y_shape[:-2], 1, *y_shape[-2:])
    x, x_shape = pad_left(x, rank), (1,) * (rank - len(x_shape)) + x_shape
    y, y_shape = pad_left(y, rank), (1,) * (rank - len(y_shape)) + y_shape
    reduced = [rank - 2]
    if vector_left:
        reduced.append(rank - 3)
    if vector_right:
        reduced.append(rank - 1)
    labels = contract(context, node, [(x, x_shape), (y, y_shape)], reduced)
    if leads_to_parameter(right):
        return _produced(context, node, labels, -1)
    if leads_to_parameter(left) and not vector_left and not vector_right:
        return _produced(context, node, labels, -2)
    return labels


def label_addmm(context: Context, node: fx.Node) -> Labels:
    """addmm/baddbmm(added, left, right): a product and an element-wise sum."""
    added, left, right = node.args[:3]
    assert isinstance(left, fx.Node)
    assert isinstance(right, fx.Node)
    assert isinstance(added, fx.Node)
    product = _matmul(context, node, left, right)
    rank = len(shape_of(node))
    shape = shape_of(added)
    return context.join(
        [
            (product, shape_of(node)),
            (pad_left(context.of(added), rank), (1,) * (rank - len(shape)) + shape),
        ],
        f"sum in {node.name}",
    )


# -- convolution -------------------------------------------------------------------------------


def _is_transposed(node: fx.Node) -> bool:
    if node.target is aten.convolution.default:
        return bool(get_argument(node, "transposed"))
    return node.target in _TRANSPOSED


def _groups(node: fx.Node) -> int:
    """How many groups a convolution has."""
    return int(concrete(get_argument(node, "groups")))


def label_convolution(context: Context, node: fx.Node) -> Labels:
    """Convolutions of any rank, grouped and transposed.

    Joint index space: (batch, group, out in group, in in group, *space). Kernel positions are not
    in it: they hold no channels.
    """
    x, weight = node.args[0], node.args[1]
    bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
    assert isinstance(x, fx.Node)
    assert isinstance(weight, fx.Node)
    groups = _groups(node)
    x_shape, w_shape = shape_of(x), shape_of(weight)
    space = len(w_shape) - 2
    batched = len(x_shape) == space + 2
    signal = context.of(x) if batched else unsqueeze(context.of(x), 0)
    x_shape = x_shape if batched else (1, *x_shape)
    signal = _without_space(context, node, signal, w_shape)
    positions = range(2, len(w_shape))
    kernel = context.lock(context.of(weight), positions, f"kernel size of {node.name}")
    kernel = tuple(slot for slot in kernel if max(varying(slot), default=0) < 2)
    outputs = w_shape[1] if _is_transposed(node) else w_shape[0] // groups
    inputs = x_shape[1] // groups
    left = unsqueeze(split_dim(signal, 1, (groups, inputs)), 2)
    flat = tuple(slot.reshape(slot.shape[:2]) for slot in kernel)
    if _is_transposed(node):
        right = split_dim(flat, 0, (groups, inputs))
        right = tuple(slot.transpose(1, 2) for slot in right)
    else:
        right = split_dim(flat, 0, (groups, outputs))
    tail = (1,) * space
    right = tuple(slot.reshape(1, *slot.shape, *tail) for slot in right)
    if inputs == 1 and groups > 1 and any(1 in varying(slot) for slot in left):
        # Depthwise: a channel is a whole group, so its outputs go with it.
        right = context.lock(right, [2], f"outputs of one group of {node.name}")
    left_shape = (x_shape[0], groups, 1, inputs, *x_shape[2:])
    right_shape = (1, groups, outputs, inputs, *tail)
    labels = contract(context, node, [(left, left_shape), (right, right_shape)], [3])
    for slot in labels:
        if 1 in varying(slot) or 2 in varying(slot):
            context.store.add_grid(slot)
    labels = clean(merge_dims(labels, 1, (groups, outputs)))
    labels = labels if batched else tuple(slot.squeeze(0) for slot in labels)
    labels = _add_bias(context, node, labels, bias, 1 if batched else 0)
    return _produced(context, node, labels, 1 if batched else 0)


def _without_space(context: Context, node: fx.Node, signal: Labels, w_shape: Shape) -> Labels:
    """Channels that lie along space stay, unless every output position sees just its own.

    Channels that a view has laid out over space as well (a linear layer in front of transposed
    convolutions) go for all of it together.
    """
    assert isinstance(node.args[0], fx.Node)
    pointwise = (
        all(size == 1 for size in w_shape[2:])
        and shape_of(node.args[0])[2:] == (shape_of(node)[2:])
    )
    if pointwise:
        return signal
    signal = context.lock(signal, range(2, len(w_shape)), f"space of {node.name}")
    return tuple(slot for slot in signal if max(varying(slot), default=0) < 2)


def leaf_convolution(context: Context, node: fx.Node, leaf: fx.Node) -> list[Slot] | None:
    """A convolution's weight: channels on its first two dimensions, none along the kernel.

    Each group of a grouped convolution has input (transposed: output) channels of its own.
    """
    if len(node.args) < 2 or leaf is not node.args[1]:
        return None
    groups = _groups(node)
    shape = shape_of(leaf)
    owner = str(leaf.target)
    tail = (1,) * (len(shape) - 2)
    slots = []
    if shape[0] > 1:
        slots.append(context.store.allocate(shape[0], owner, 0).reshape(-1, 1, *tail))
    if shape[1] > 1:
        rows = torch.arange(shape[0]) // (shape[0] // groups)
        own = context.store.allocate(groups * shape[1], owner, 1).reshape(groups, shape[1])
        own = own if groups == 1 else own[rows]
        slots.append(own.reshape(*own.shape, *tail))
    return slots


def is_kernel(leaf: fx.Node) -> bool:
    """Whether a convolution's weight is computed from this parameter, element by element.

    Its last dimensions are positions in the kernel then, which hold no channels.
    """
    shape, pending, seen = shape_of(leaf), [leaf], {leaf}
    while pending:
        node = pending.pop()
        for user in node.users:
            if user.target in CONVOLUTIONS and user.args[1] is node:
                return True
            if user not in seen and is_pointwise(user.target) and is_tensor(user):
                if shape_of(user) == shape:
                    pending.append(user)
                seen.add(user)
    return False


def rewrite_convolution(rewriter: Rewriter, node: fx.Node) -> None:
    """Groups of which nothing is left (depthwise: channels) are not counted."""
    groups = _groups(node)
    if groups == 1:
        return
    x, weight = node.args[0], node.args[1]
    assert isinstance(x, fx.Node)
    assert isinstance(weight, fx.Node)
    channels = -(len(shape_of(weight)) - 1)
    kept = rewriter.rows_kept(x, channels, groups)
    if kept != groups:  # else it may be the batch, whose size is not known
        set_argument(node, "groups", rewriter.scaled(node, "groups", groups, kept))


_TRANSPOSED = (
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
)
CONVOLUTIONS = (
    aten.convolution.default,
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    *(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding),
    *_TRANSPOSED,
)
"""Overloads that take a signal, a weight and a bias."""

LINEAR = Rule(label_linear)
MATMUL = Rule(label_matmul)
CONVOLUTION = Rule(label_convolution, rewrite=rewrite_convolution, leaf=leaf_convolution)

register(LINEAR, aten.linear.default)
register(MATMUL, *overloads("matmul", "mm", "bmm", "mv", "dot"))
register(Rule(label_addmm), *overloads("addmm", "baddbmm"))
register(CONVOLUTION, *CONVOLUTIONS)
