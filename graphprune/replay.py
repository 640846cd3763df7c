"""Run one node's operation again on other values: labels, positions or meta tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from graphprune.values import concrete, is_tensor, shape_of

aten = torch.ops.aten


def replay(node: fx.Node, stand_in: Callable[[fx.Node], Any]) -> Any:
    """Call the node's operation with ``stand_in(n)`` in place of every input node ``n``.

    A view becomes a reshape: what stands in may be laid out in memory unlike the original.
    """
    target: Any = aten.reshape.default if node.target is aten.view.default else node.target
    args = concrete(fx.node.map_arg(node.args, stand_in))
    return target(*args, **fx.node.map_arg(dict(node.kwargs), stand_in))


def replay_movement(
    node: fx.Node,
    source: fx.Node,
    value: torch.Tensor,
    shape: Callable[[fx.Node], tuple[int, ...]] = shape_of,
) -> list[torch.Tensor]:
    """Outputs of an operation that moves elements about, with ``value`` for its ``source``.

    Of its other inputs the sizes are used, or the shapes alone, which ``shape`` tells.
    """

    def stand_in(argument: fx.Node) -> Any:
        if argument is source:
            return value
        if is_tensor(argument):
            return value.new_zeros(()).expand(shape(argument))
        return concrete(argument)

    moved = replay(node, stand_in)
    return list(moved) if isinstance(moved, list | tuple) else [moved]
