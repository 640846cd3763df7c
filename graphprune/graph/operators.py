"""Operators that are not torch's own: which a graph calls, and what brings them into being."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import fx

from graphprune.errors import UsageError

_OWN = ("aten", "prims")


def overloads_of(operator: Any) -> list[torch._ops.OpOverload]:
    """The overloads that are meant by one, by a whole packet, or by a ``CustomOpDef``.

    Raises:
        UsageError: it is no operator.
    """
    if isinstance(operator, torch._ops.OpOverload):
        return [operator]
    if isinstance(operator, torch._ops.OpOverloadPacket):
        return [getattr(operator, name) for name in operator.overloads()]
    if isinstance(operator, torch._library.custom_ops.CustomOpDef):
        return [operator._opoverload]
    raise UsageError(
        f"{operator!r} is no operator; give one such as torch.ops.mylib.my_op.default, "
        "or what torch.library.custom_op returned"
    )


def foreign_calls(module: fx.GraphModule) -> dict[torch._ops.OpOverload, fx.Node]:
    """Operators of other libraries that a graph calls, each with its first call."""
    found: dict[torch._ops.OpOverload, fx.Node] = {}
    for node in module.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace not in _OWN:
            found.setdefault(node.target, node)
    return found


def home_of(operator: torch._ops.OpOverload) -> str:
    """The module whose import brings an operator into being; "" if none is known.

    That is where ``torch.library.custom_op`` was used, or else the imported package that has the
    name of the operator's namespace.
    """
    known = torch._library.custom_ops.OPDEFS.get(operator.name().partition(".")[0])
    if known is not None:
        return str(known._init_fn.__module__)
    return operator.namespace if operator.namespace in sys.modules else ""


def import_root(module: str) -> Path | None:
    """The folder from which Python has imported a module; None for one that has no file."""
    top = module.partition(".")[0]
    spec = getattr(sys.modules.get(top), "__spec__", None)
    if top == "__main__" or spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        return Path(folder).parent
    return Path(spec.origin).parent if spec.has_location and spec.origin else None


def unknown_operators(names: Iterable[str]) -> list[str]:
    """Those of ``torch.ops.library.operator.overload`` that no imported library defines."""
    missing = []
    for name in names:
        library, operator = name.split(".")[2:4]
        if not hasattr(getattr(torch.ops, library), operator):
            missing.append(f"{library}::{operator}")
    return missing
