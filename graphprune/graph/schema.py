"""Reading and writing the arguments of ATen calls by the names in their schema."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


def schema_of(node: fx.Node) -> torch.FunctionSchema | None:
    """Schema of the operator that a node calls; None if it calls no ATen-like operator."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema
    return None


def has_argument(node: fx.Node, name: str) -> bool:
    """Whether the operator of this node has an argument of that name."""
    schema = schema_of(node)
    return schema is not None and any(argument.name == name for argument in schema.arguments)


def get_argument(node: fx.Node, name: str) -> Any:
    """Value of a named argument, the schema's default where the call leaves it out.

    Raises:
        KeyError: the operator has no such argument.
    """
    schema = schema_of(node)
    for position, argument in enumerate(schema.arguments if schema is not None else []):
        if argument.name == name:
            if name in node.kwargs:
                return node.kwargs[name]
            if not argument.kwarg_only and position < len(node.args):
                return node.args[position]
            return argument.default_value if argument.has_default_value() else None
    raise KeyError(name)


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Set a named argument, where the call gives it or else as a keyword.

    Raises:
        KeyError: the operator has no such argument.
    """
    schema = schema_of(node)
    for position, argument in enumerate(schema.arguments if schema is not None else []):
        if argument.name == name:
            if not argument.kwarg_only and position < len(node.args):
                node.update_arg(position, value)
            else:
                node.update_kwarg(name, value)
            return
    raise KeyError(name)
