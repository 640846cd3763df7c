"""Other people's model zoos: each module has ``names()`` and ``build(name)``.

``build`` gives a freshly initialised model in eval mode and example inputs as
:func:`graphprune.compress` takes them; neither depends on what pruning can do.
"""

from __future__ import annotations

import importlib
from types import ModuleType

ZOOS = ("timm", "variants", "torchvision", "transformers", "types", "wild", "libraries")


def zoo(name: str) -> ModuleType:
    """The module of a zoo by name; ImportError where its library is not installed."""
    return importlib.import_module(f"benchmarks.zoos.{name}_zoo")
