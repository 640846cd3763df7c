"""Numbers of parameters without the parameters: counted on the meta device, and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

CACHE = Path(os.environ.get("GRAPHPRUNE_CACHE", Path(__file__).parents[2] / ".cache"))


def counts(library: str, names: Iterable[str], make: Callable[[str], nn.Module]) -> dict[str, int]:
    """Parameters of each model, in the order given.

    Args:
        library: name and version, which the file in the cache is named after.
        names: of the models.
        make: makes a model by name, without pretrained weights.
    """
    path = CACHE / f"parameters-{library}.json"
    if path.is_file():
        found: dict[str, int] = json.loads(path.read_text())
        return found
    found = {}
    for name in names:
        found[name] = sum(parameter.numel() for parameter in _shell(make, name).parameters())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1))
    return found


def _shell(make: Callable[[str], nn.Module], name: str) -> nn.Module:
    try:
        with torch.device("meta"):
            return make(name)
    except (RuntimeError, NotImplementedError):  # it reads a value while it is being made
        return make(name)
