"""Labels and masks for sizes other than those captured, such as another batch."""

from __future__ import annotations

import math
from typing import Any

import torch

from graphprune.graph.values import is_free
from graphprune.labels.slots import Labels, Slot


def of_length(lines: torch.Tensor, dim: int, length: int, size: Any) -> torch.Tensor | None:
    """A slot or a mask made ``length`` long along a dimension that merges batch and channels.

    What it holds repeats for every example: either whole runs follow each other (examples
    outside) or each element stands as often as there are examples (examples inside).

    Args:
        lines: any dtype, at the captured length along ``dim``.
        dim: the dimension.
        length: the new length.
        size: the dimension's symbolic size.

    Returns:
        None where it does neither, so that its elements at another length are not known.
    """
    now = lines.shape[dim]
    if now == length:
        return lines
    channels = _of_one_example(size)
    if channels < 1 or now % channels or length % channels:
        channels = math.gcd(now, length)
    lines = lines.movedim(dim, 0)
    outside = lines.reshape(now // channels, channels, *lines.shape[1:])
    if bool((outside == outside[:1]).all()):
        longer = outside[0].repeat(length // channels, *[1] * (lines.ndim - 1))
        return longer.movedim(0, dim)
    inside = lines.reshape(channels, now // channels, *lines.shape[1:])
    if bool((inside == inside[:, :1]).all()):
        return inside[:, 0].repeat_interleave(length // channels, 0).movedim(0, dim)
    return None


def _of_one_example(size: Any) -> int:
    """How long a dimension of this symbolic size would be at a batch of one."""
    expression = size.node.expr
    return int(expression.xreplace(dict.fromkeys(expression.free_symbols, 1)))


def labels_at(labels: Labels, value: torch.Tensor, shape: torch.Size) -> Labels | None:
    """The labels of a value as they are where it has this shape; None where that is not known.

    Args:
        labels: at the captured sizes.
        value: fake, with the symbolic sizes of the graph.
        shape: of the value itself, on other inputs.
    """
    slots = []
    for slot in labels:
        longer = slot_at(slot, value, shape)
        if longer is None:
            return None
        slots.append(longer)
    return tuple(slots)


def slot_at(slot: Slot, value: torch.Tensor, shape: torch.Size) -> Slot | None:
    """One of the labels, or channel numbers laid out like one; see :func:`labels_at`."""
    for dim, size in enumerate(value.shape):
        if is_free(size) and slot.shape[dim] > 1:
            longer = of_length(slot, dim, shape[dim], size)
            if longer is None:
                return None
            slot = longer
    return slot
