"""timm: the smallest member of every model module, at the input size it was made for."""

from __future__ import annotations

from typing import Any

from torch import nn

from benchmarks.models.imagenet import torchvision
from benchmarks.zoos.counts import counts
from benchmarks.zoos.pictures import pictures

torchvision()  # timm imports it too, and cannot where its compiled part does not fit torch

import timm  # noqa: E402

LARGE_IMAGE = 500


def families() -> dict[str, list[str]]:
    """Models by module, without those that timm keeps for its own unit tests (``test_…``)."""
    members = {module: timm.list_models(module=module) for module in timm.list_modules()}
    return {
        module: [name for name in names if not name.startswith("test_")]
        for module, names in members.items()
    }


def names() -> list[str]:
    """The member with the fewest parameters of each of timm's modules, in order of the modules."""
    members = families()
    everything = [name for group in members.values() for name in group]
    size = counts(f"timm-{timm.__version__}", everything, timm.create_model)
    known = [[name for name in group if name in size] for group in members.values()]
    return [min(group, key=lambda name: (size[name], name)) for group in known if group]


def build(name: str) -> tuple[nn.Module, Any]:
    """Model ``name`` without weights, and two images (one where they are large)."""
    model: nn.Module = timm.create_model(name)
    size = model.default_cfg["input_size"]  # type: ignore[index]
    return model.eval(), pictures(1 if max(size) > LARGE_IMAGE else 2, *size)
