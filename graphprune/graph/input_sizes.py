"""Whether inputs have the sizes that a graph was captured for.

What a model does with a size in Python (a loop over time, a branch on the batch) is no part of its
graph. So at another size the graph might run, and compute something else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx
from torch.fx import _pytree as fx_pytree

from graphprune.errors import DataError
from graphprune.graph.values import is_free


def require_sizes(module: fx.GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse inputs of sizes that the graph is not for; what may vary must vary in step.

    Arguments that do not fit the signature are left to the call itself.

    Raises:
        DataError: naming the input, the sizes it has and those it must have.
    """
    sizes: dict[str, int] = {}
    nodes = module.graph.find_nodes(op="placeholder")
    for node, given in zip(nodes, _leaves(module, args, kwargs), strict=False):
        wanted = node.meta.get("val")
        if not isinstance(wanted, torch.Tensor) or not isinstance(given, torch.Tensor):
            continue
        fits = given.ndim == wanted.ndim
        for have, want in zip(given.shape, wanted.shape, strict=False):
            free = is_free(want)
            known = sizes.setdefault(str(want), int(have)) if free else int(want)
            fits &= _derived(want) or have == known
        if not fits:
            raise DataError(
                f"input {node.target} is {sizes_text(given.shape)}, but this graph is for "
                f"{sizes_text(wanted.shape)}{_varying(sizes)}; compress the model with example "
                "inputs of the sizes that it is to run with"
            )


def _derived(size: Any) -> bool:
    """Whether a size is reckoned from others, such as 2 * batch, and not looked at here."""
    return is_free(size) and not size.node.expr.is_symbol


def _leaves(module: fx.GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Values of the placeholders, as the generated code finds them; empty where it would not."""
    spec = getattr(module, "_in_spec", None)
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
        if spec is None:
            return list(bound.arguments.values())
        values = list(bound.arguments.values())
        positional, named = (spec.child(0).num_children, spec.child(1).context)
        tree = values[:positional], dict(zip(named, values[positional:], strict=True))
        return list(fx_pytree.tree_flatten_spec(tree, spec))
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        return []


def sizes_text(shape: Iterable[Any]) -> str:
    """``Nx3x32x32``, with N for every size that may vary."""
    return "x".join("N" if is_free(size) else str(int(size)) for size in shape) or "a number"


def _varying(sizes: dict[str, int]) -> str:
    return f" (any N, the same for all inputs: here {min(sizes.values())})" if sizes else ""


def further_free_sizes(module: fx.GraphModule) -> list[str]:
    """Dimensions of inputs that may vary besides the first such one of each, for people.

    A program may have been exported so; :func:`graphprune.capturing.capture.capture` itself leaves
    nothing but the batch free.
    """
    found = []
    for node in module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            free = [dim for dim, size in enumerate(value.shape) if is_free(size)]
            found += [f"dimension {dim} of {node.target}" for dim in free[1:]]
    return found
