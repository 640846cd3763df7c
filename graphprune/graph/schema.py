"""Reading and writing the arguments of ATen calls by the names in their schema."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import fx


def schema_of(node: fx.Node) -> torch.FunctionSchema | None:
    """Schema of the operator that a node calls; None if it calls no ATen-like operator."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema
    return None


class _Argument(NamedTuple):
    """Where a call gives an argument, and what it is otherwise; keyword-only: position is None."""

    position: int | None
    default: Any


@functools.cache
def _arguments(target: Any) -> dict[str, _Argument]:
    """Arguments by name. torch makes new objects of a schema's arguments each time it is asked."""
    if not isinstance(target, torch._ops.OpOverload):
        return {}
    return {
        argument.name: _Argument(
            None if argument.kwarg_only else position,
            argument.default_value if argument.has_default_value() else None,
        )
        for position, argument in enumerate(target._schema.arguments)
    }


def has_argument(node: fx.Node, name: str) -> bool:
    """Whether the operator of this node has an argument of that name."""
    return name in _arguments(node.target)


def get_argument(node: fx.Node, name: str) -> Any:
    """Value of a named argument, the schema's default where the call leaves it out.

    Raises:
        KeyError: the operator has no such argument.
    """
    argument = _arguments(node.target)[name]
    if name in node.kwargs:
        return node.kwargs[name]
    if argument.position is not None and argument.position < len(node.args):
        return node.args[argument.position]
    return argument.default


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Set a named argument, where the call gives it or else as a keyword.

    Raises:
        KeyError: the operator has no such argument.
    """
    position = _arguments(node.target)[name].position
    if position is not None and position < len(node.args):
        node.update_arg(position, value)
    else:
        node.update_kwarg(name, value)
