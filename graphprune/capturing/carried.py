"""State that a model hands out to be given back to it, such as a language model's cache."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

_KNOWN = (torch.Tensor, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


@contextlib.contextmanager
def without_carried_state(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[set[str]]:
    """Inside the block the model returns None for state that is not among these inputs.

    State is what the forward could take back: a named output, of a class that a graph cannot
    return, with the name of a parameter that the inputs leave out. Within one call it is neither
    input nor result, so nothing is lost but the means to go on from there.

    Yields:
        The names of what was left out, once the model has been called.
    """
    names = _not_given(model, args, kwargs)
    found: set[str] = set()

    def drop(module: nn.Module, given: Any, output: Any) -> Any:
        del module, given
        fields = _fields(output)
        state = [name for name in fields if name in names and _is_foreign(fields[name])]
        found.update(state)
        return _without(output, state) if state else output

    handle = model.register_forward_hook(drop)
    try:
        yield found
    finally:
        handle.remove()


def _not_given(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> set[str]:
    signature = inspect.signature(model.forward)
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return set()  # the call itself will say what is wrong
    return {name for name in signature.parameters if bound.get(name) is None}


def _fields(output: Any) -> dict[str, Any]:
    """What an output holds by name; empty where it has no names."""
    if isinstance(output, Mapping):
        return dict(output)
    if dataclasses.is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    return output._asdict() if hasattr(output, "_asdict") else {}


def _is_foreign(value: Any) -> bool:
    return any(
        not isinstance(leaf, _KNOWN) and not dataclasses.is_dataclass(leaf)
        for leaf in pytree.tree_leaves(value)
    )


def _without(output: Any, names: list[str]) -> Any:
    nothing = dict.fromkeys(names)
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        for name in names:
            changed[name] = None
        # Some classes leave out what is None, once a graph rebuilds them.
        return pytree.tree_unflatten(*pytree.tree_flatten(changed))
    if dataclasses.is_dataclass(output):
        return dataclasses.replace(output, **nothing)  # type: ignore[type-var]
    return output._replace(**nothing)
