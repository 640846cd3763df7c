"""Attributes such as out_channels and num_heads follow the tensors of a shrunk module."""

from __future__ import annotations

from typing import Any

from torch import nn

from graphprune.into.constructor import Shapes, constructed_attributes
from graphprune.into.sizes import Sizes, choices, settled, size_attributes

_Change = tuple[Any, Any]


def set_certain(model: nn.Module, sizes: dict[str, Sizes], before: dict[str, Shapes]) -> None:
    """Set the attributes whose new value the graph leaves no doubt about.

    That is where one size became one other everywhere in the module, or where a layer's constructor
    tells (see :mod:`graphprune.into.constructor`); then attributes of enclosing modules that have
    the name and the value of one that changed, if all of their namesakes agree.

    Args:
        model: with its new tensors.
        sizes: by module, what became of the sizes there.
        before: by module, the shapes of its own tensors before.
    """
    changed: dict[str, dict[str, _Change]] = {}
    for path, module in model.named_modules():
        if path in sizes:
            changed[path] = _certain(module, sizes[path], before.get(path, {}))
            for key, (_, value) in changed[path].items():
                setattr(module, key, value)
    for path, module in model.named_modules():
        known = sizes.get(path, Sizes())
        for key, value in size_attributes(module).items():
            if key not in changed.get(path, {}) and len(choices(value, known.any_became)) == 1:
                _follow_namesakes(module, path, key, changed)


def _certain(module: nn.Module, sizes: Sizes, before: Shapes) -> dict[str, _Change]:
    now = size_attributes(module)
    new = {key: settled(value, sizes.became) for key, value in now.items()}
    if any(
        value is None and len(choices(now[key], sizes.became)) > 1 for key, value in new.items()
    ):
        new |= constructed_attributes(module, before, sizes)
    return {k: (now[k], v) for k, v in new.items() if v is not None and v != now[k]}


def _follow_namesakes(
    module: nn.Module, path: str, key: str, changed: dict[str, dict[str, _Change]]
) -> None:
    """Set an attribute as its namesakes below were set, where these had its value and agree."""
    value = getattr(module, key)
    prefix = f"{path}." if path else ""
    became = []
    for name, part in module.named_modules(prefix=path):
        change = changed.get(name, {}).get(key)
        if not name.startswith(prefix) or part is module:
            continue
        if change is not None and change[0] == value:
            became.append(change[1])
        elif vars(part).get(key) == value:
            return  # one of them stayed as it was
    if became and all(one == became[0] for one in became):
        setattr(module, key, became[0])
