"""Well-known PyTorch libraries: a member of every family, of those that are installed."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from functools import cache
from typing import Any

from torch import nn

from benchmarks.models.imagenet import torchvision
from benchmarks.zoos import libraries
from benchmarks.zoos.libraries import Builder

with contextlib.suppress(ImportError):
    torchvision()  # many import it too, and cannot where its compiled part does not fit torch


@cache
def builders(library: str) -> dict[str, Builder]:
    """What builds each model of a library; ImportError where the library cannot be imported."""
    module = importlib.import_module(f"{libraries.__name__}.{library}")
    models: dict[str, Builder] = module.MODELS
    return models


@cache
def missing() -> dict[str, str]:
    """The libraries that cannot be imported, with the reason."""
    found = {}
    for library in _listed():
        try:
            builders(library)
        except ImportError as error:
            found[library] = str(error)
    return found


def names() -> list[str]:
    """``library/model`` for all models of the installed libraries, in alphabetical order."""
    installed = [library for library in _listed() if library not in missing()]
    return sorted(f"{library}/{name}" for library in installed for name in builders(library))


def build(name: str) -> tuple[nn.Module, Any]:
    """Model ``library/model`` in eval mode with random weights, and inputs for it."""
    library, _, model_name = name.partition("/")
    model, inputs = builders(library)[model_name]()
    return model.eval(), inputs


def _listed() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(libraries.__path__)]
