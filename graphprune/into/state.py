"""A module's tensors and attributes as one state that can be changed and put back whole."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from graphprune.graph.names import graph_name

_DEEPEST, _MANY = 4, 1000
_FOREIGN = (nn.Module, torch.Tensor, type, types.ModuleType, types.FunctionType, types.MethodType)

Container = dict[Any, Any] | list[Any] | set[Any]


@dataclass(frozen=True)
class SavedState:
    """What a module was: put back by :meth:`restore`, whatever happened in between.

    Tensors keep their identity (ties and optimisers hold on to them); their contents are swapped.
    Contents must be replaced, never written into, for the old ones to be still there.
    """

    attributes: list[tuple[nn.Module, dict[str, Any]]]
    containers: list[tuple[Container, Any]]
    tensors: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]

    @classmethod
    def take(cls, module: nn.Module) -> SavedState:
        """Note the attributes and tensors of ``module``.

        So too what is in dicts, lists, sets and plain objects (caches) among the attributes.
        """
        attributes = [(part, dict(vars(part))) for part in module.modules()]
        inside: dict[int, Container] = {}
        for _, own in attributes:
            for value in own.values():
                _collect(value, inside)
        containers = [(one, _plain_copy(one)) for one in inside.values()]
        tensors = [(t, t.data, t.grad if t.is_leaf else None) for _, t in unique_tensors(module)]
        return cls(attributes, containers, tensors)

    def restore(self) -> None:
        """Put everything back."""
        for part, own in self.attributes:
            vars(part).clear()
            vars(part).update(own)
        for container, content in self.containers:
            if _same(container, content):
                continue
            container.clear()
            if isinstance(container, list):
                container.extend(content)
            else:
                container.update(content)
        for tensor, data, grad in self.tensors:
            tensor.data = data
            if tensor.is_leaf:
                tensor.grad = grad


def _collect(value: Any, found: dict[int, Container], depth: int = 0) -> None:
    """Add the containers within a value, which it may be itself, by id."""
    if isinstance(value, _FOREIGN) or depth > _DEEPEST:
        return
    own = value if isinstance(value, dict | list | set) else getattr(value, "__dict__", None)
    if not isinstance(own, dict | list | set) or id(own) in found:
        return
    found[id(own)] = own
    if len(own) <= _MANY:  # caches are small; data sets are not
        for one in own.values() if isinstance(own, dict) else own:
            _collect(one, found, depth + 1)


def _plain_copy(container: Container) -> Container:
    """Of the plain type; subclasses may have copies of their own kind."""
    kind = next(kind for kind in (dict, list, set) if isinstance(container, kind))
    return kind(container)


def _same(container: Container, content: Container) -> bool:
    """Whether a container holds the very objects that it held, in their order."""
    if len(container) != len(content):
        return False
    now, before = (c.items() if isinstance(c, dict) else c for c in (container, content))
    if isinstance(container, dict):
        return all(a is c and b is d for (a, b), (c, d) in zip(now, before, strict=True))
    return all(a is b for a, b in zip(now, before, strict=True))


def named_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters, buffers and plain tensor attributes by qualified name, tied ones under each.

    Names are those that a graph has for them (:func:`graphprune.graph.names.graph_name`).
    """
    found: dict[str, torch.Tensor] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for own in (part._parameters, part._buffers, vars(part)):
            for key, value in own.items():
                if isinstance(value, torch.Tensor):
                    found.setdefault(graph_name(f"{prefix}{key}"), value)
    return found


def unique_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor of :func:`named_tensors` once, with its first name."""
    seen: set[int] = set()
    for name, tensor in named_tensors(module).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def fill(module: nn.Module, source: nn.Module) -> None:
    """Give every tensor of ``module`` the contents, of any shape, of its namesake in ``source``.

    Contents are copied, on the device of ``source``; tensors that it lacks get their own again.
    Nothing is written into the old contents.
    """
    given = named_tensors(source)
    device = next((tensor.device for tensor in given.values()), None)
    for name, tensor in unique_tensors(module):
        content = given[name].detach() if name in given else tensor.detach().to(device)
        tensor.data = content.clone()
        if tensor.is_leaf:
            tensor.grad = None
