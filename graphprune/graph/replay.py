"""Run one node's operation again on other values: labels, positions or meta tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from graphprune.graph.values import concrete, is_tensor, shape_of

aten = torch.ops.aten


def operation(node: fx.Node) -> Callable[..., Any]:
    """What to call to run the node's operation on other values.

    A view becomes a reshape: what stands in may be laid out in memory unlike the original.
    """
    target: Any = node.target
    return aten.reshape.default if target is aten.view.default else target


def as_outputs(returned: Any) -> list[Any]:
    """What an operation returned, as a list also where it has one output."""
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def replay(node: fx.Node, stand_in: Callable[[fx.Node], Any]) -> Any:
    """Call the node's operation with ``stand_in(n)`` in place of every input node ``n``."""
    args = concrete(fx.node.map_arg(node.args, stand_in))
    return operation(node)(*args, **fx.node.map_arg(dict(node.kwargs), stand_in))


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

    return as_outputs(replay(node, stand_in))
