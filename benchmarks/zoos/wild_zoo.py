"""Networks from outside the libraries: small, in the idioms of well-known repositories."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn

from benchmarks.zoos import wild

Builder = Callable[[], tuple[nn.Module, Any]]


@cache
def builders() -> dict[str, Builder]:
    """What builds each model, by its name; ValueError where two modules use one name."""
    found: dict[str, Builder] = {}
    for module in pkgutil.iter_modules(wild.__path__, f"{wild.__name__}."):
        models: dict[str, Builder] = getattr(importlib.import_module(module.name), "MODELS", {})
        twice = found.keys() & models.keys()
        if twice:
            raise ValueError(f"{module.name}: {sorted(twice)} are names of another module's models")
        found |= models
    return found


def names() -> list[str]:
    """All models, in alphabetical order."""
    return sorted(builders())


def build(name: str) -> tuple[nn.Module, Any]:
    """Model ``name`` in eval mode with random weights, and inputs for it."""
    model, inputs = builders()[name]()
    return model.eval(), inputs
