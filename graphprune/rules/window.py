"""Pooling, resizing, windows taken apart and put together: on space, channel by channel."""

from __future__ import annotations

import math
import re

from torch import fx

from graphprune.graph.schema import get_argument
from graphprune.graph.values import concrete, shape_of
from graphprune.labels.slots import Labels, clean, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register


def label_window(context: Context, node: fx.Node) -> NodeLabels:
    """Channels pass through; channels that lie along the pooled space stay."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    found = re.search(r"([123])d", str(node.target))
    space = int(found.group(1)) if found else len(shape_of(source)) - 2
    first = len(shape_of(source)) - space
    labels = _off_space(context, node, first)
    value = node.meta["val"]
    return [labels for _ in value] if isinstance(value, list | tuple) else labels


def label_grid_sampler(context: Context, node: fx.Node) -> NodeLabels:
    """grid_sampler(x (B, C, …), places (B, …, 2 or 3)): as a window; places keep their sizes."""
    context.pin(context.of(node.args[1]), f"places read by {node.name}")
    return label_window(context, node)


def label_unpool(context: Context, node: fx.Node) -> Labels:
    """max_unpool(x, indices, size): each channel has places of its own, within its own space."""
    operands = []
    for number in (0, 1):
        shape = shape_of(node.args[number])  # type: ignore[arg-type]
        first = len(shape) - len(concrete(node.args[2]))
        operands.append((_off_space(context, node, first, number), shape))
    return context.join(operands, f"unpooled by {node.name}")


def _off_space(context: Context, node: fx.Node, first: int, number: int = 0) -> Labels:
    """Labels of an argument along the dimensions before ``first``; all others stay.

    Channels laid out over space as well, by a view, go for all of it together.
    """
    source = node.args[number]
    assert isinstance(source, fx.Node)
    space = range(first, len(shape_of(source)))
    labels = context.lock(context.of(source), space, f"space of {node.name}")
    return tuple(slot for slot in labels if not set(varying(slot)) & set(space))


def label_unfold(context: Context, node: fx.Node) -> Labels:
    """im2col: a channel's windows lie side by side along the channel dimension."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    channel = len(shape_of(source)) - 3
    window = math.prod(concrete(node.args[1]))
    result = []
    for slot in _off_space(context, node, channel + 1):
        wide = slot.repeat_interleave(window, channel) if slot.shape[channel] > 1 else slot
        result.append(wide.flatten(channel + 1))
        context.store.add_grid(result[-1])
    return clean(result)


def label_fold(context: Context, node: fx.Node) -> Labels:
    """col2im: the positions in a window that become one channel go together."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    channel = len(shape_of(source)) - 2
    window = math.prod(concrete(get_argument(node, "kernel_size")))
    result = []
    for slot in _off_space(context, node, channel + 1):
        if slot.shape[channel] > 1:
            grid = slot.unflatten(channel, (-1, window))
            slot = grid.narrow(channel + 1, 0, 1)
            context.unite(grid, slot, f"windows of {node.name}")
            slot = slot.squeeze(channel + 1)
        result.append(slot.unsqueeze(-1))
        context.store.add_grid(result[-1])
    return clean(result)


_NAMES = [f"{kind}{n}d" for kind in ("avg_pool", "max_pool") for n in (1, 2, 3)]
_NAMES += [f"adaptive_{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)]
_NAMES += [f"max_pool{n}d_with_indices" for n in (2, 3)]
_NAMES += ["upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"]
_NAMES += [f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)]
_NAMES += ["upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"]
_NAMES += ["upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"]

register(Rule(label_window), *overloads(*_NAMES))
register(Rule(label_grid_sampler), *overloads("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"))
register(Rule(label_unpool), *overloads("max_unpool2d", "max_unpool3d"))
register(Rule(label_unfold), *overloads("im2col"))
register(Rule(label_fold), *overloads("col2im"))
