"""What became of the sizes that a module works with, read off the graph before and after."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from graphprune.graph.names import model_name
from graphprune.into.state import named_tensors

Changes = dict[int, set[int]]
"""By old size, the sizes that it became."""


@dataclass
class Sizes:
    """Sizes before and after that one module had to do with, by where they were seen.

    Attributes:
        given: dimensions of the module's own tensors, and numbers passed to its own operations.
        seen: dimensions of the values that its own operations take and return.
        rewritten: its own operations of which a number changed, in graph order.
        first: its first operation in the graph before; None if there is none.
    """

    given: Changes = field(default_factory=lambda: defaultdict(set))
    seen: Changes = field(default_factory=lambda: defaultdict(set))
    rewritten: list[fx.Node] = field(default_factory=list)
    first: fx.Node | None = None

    def became(self, size: int) -> set[int]:
        """What ``size`` became; of what was passed on purpose if possible, else of any value."""
        return self.given.get(size) or self.seen.get(size) or set()

    def any_became(self, size: int) -> set[int]:
        """All that ``size`` became anywhere."""
        return self.given.get(size, set()) | self.seen.get(size, set())


def sizes_by_module(dense: fx.GraphModule, small: fx.GraphModule) -> dict[str, Sizes]:
    """Sizes by the qualified name of the module whose forward ran the operations itself.

    Args:
        dense: the graph before.
        small: the graph after; its nodes have the same names.
    """
    found: dict[str, Sizes] = defaultdict(Sizes)
    tensors = named_tensors(small)
    for name, tensor in named_tensors(dense).items():
        if name in tensors:
            owner = found[model_name(name).rpartition(".")[0]]
            _note(owner.given, zip(tensor.shape, tensors[name].shape, strict=True))
    after = {node.name: node for node in small.graph.nodes}
    for node in dense.graph.nodes:
        if node.op != "call_function" or node.name not in after:
            continue
        own = found[module_path(node)]
        own.first = own.first or node
        numbers = list(_numbers(node, after[node.name]))
        _note(own.given, numbers)
        replaced = after[node.name].target is not node.target  # chunk becomes split_with_sizes
        if replaced or any(old != new for old, new in numbers):
            own.rewritten.append(node)
        for value in (node, *node.all_input_nodes):
            if value.name in after:
                _note(own.seen, _dimensions(value.meta.get("val"), after[value.name].meta["val"]))
    return dict(found)


def module_path(node: fx.Node) -> str:
    """Qualified name of the module whose forward ran this operation itself, "" for the root."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return str(path).partition("@")[0] if "from_metadata_hook" not in str(path) else ""


def _note(changes: Changes, pairs: Any) -> None:
    for old, new in pairs:
        changes[int(old)].add(int(new))


def _numbers(old: fx.Node, new: fx.Node) -> Iterator[tuple[int, int]]:
    if old.target is new.target:
        before = [*old.args, *old.kwargs.values()]
        after = [*new.args, *new.kwargs.values()]
        yield from _paired(before, after)


def _paired(old: Any, new: Any) -> Iterator[tuple[int, int]]:
    if isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for one, other in zip(old, new, strict=True):
            yield from _paired(one, other)
    elif is_size(old) and is_size(new):
        yield old, new


def _dimensions(old: Any, new: Any) -> Iterator[tuple[int, int]]:
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        for one, other in zip(old, new, strict=False):
            yield from _dimensions(one, other)
    elif isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor) and old.ndim == new.ndim:
        yield from _paired(tuple(old.shape), tuple(new.shape))


def is_size(value: Any) -> bool:
    """Whether a value is a plain int, and no bool."""
    return type(value) is int


def size_attributes(module: nn.Module) -> dict[str, Any]:
    """A module's attributes that are ints or tuples or lists of ints."""
    return {
        key: value
        for key, value in vars(module).items()
        if is_size(value)
        or (isinstance(value, tuple | list) and value and all(is_size(v) for v in value))
    }


def choices(value: Any, changes: Any) -> list[Any]:
    """Values that a size attribute may have taken on, its own first.

    Args:
        value: an int, or a tuple or list of ints.
        changes: function from an old size to the set of sizes that it became.
    """
    if is_size(value):
        return [value, *sorted(changes(value) - {value})]
    each = [choices(one, changes) for one in value]
    if sum(len(options) - 1 for options in each) > 4:
        return [value]
    made = itertools.product(*each)
    return [_like(value, combination) for combination in made]


def settled(value: Any, changes: Any) -> Any:
    """The one value that a size attribute became; None where there are several or none."""
    if is_size(value):
        became = changes(value)
        return next(iter(became)) if len(became) == 1 else None
    parts = [settled(one, changes) for one in value]
    return None if any(part is None for part in parts) else _like(value, parts)


def _like(value: Any, parts: Any) -> Any:
    return torch.Size(parts) if isinstance(value, torch.Size) else type(value)(parts)
