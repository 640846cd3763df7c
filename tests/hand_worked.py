"""Small networks whose groups and plans are worked out by hand: made, examined, halved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from engine_oracle import LIMIT, Shrunk, prune
from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import capture
from graphprune.choosing.thinning import Thinning
from graphprune.labels.slots import varying

Tensor = torch.Tensor
IMAGE = (2, 3, 8, 8)


class Net(nn.Module):
    """Layers by name, and a forward function over them, called with the net and the input."""

    def __init__(self, forward: Callable[[Any, Any], Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    """A convolution that keeps the image's size."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def examine(net: nn.Module, *shape: int) -> Analysis:
    """Analysed for inputs of this shape, its batch norms with statistics of their own."""
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean, norm.running_var = (
                torch.randn(norm.num_features),
                torch.rand(norm.num_features) + 0.5,
            )
    return analyse(capture(net.eval(), torch.randn(shape or IMAGE)).module)


def groups(analysis: Analysis) -> dict[str, tuple[int, set[tuple[str, int]]]]:
    """By name: size, and members as (parameter, dim)."""
    return {
        group.name: (group.size, {(m.parameter, m.dim) for m in group.members})
        for group in analysis.groups
    }


def half(net: nn.Module, *shape: int, target: str = "channels=0.5", heads: str = "both") -> Shrunk:
    """Shrunk, and proved equal to the masked reference."""
    captured = capture(net.eval(), torch.randn(shape or IMAGE))
    result = prune(captured, analyse(captured.module), target, thinning=Thinning(heads))
    assert result.error <= LIMIT
    return result


def pins(analysis: Analysis, parameter: str, dim: int) -> list[str]:
    """Why channels along a parameter's dimension stay."""
    return [p.reason for p in analysis.pinned if (p.parameter, p.dim) == (parameter, dim)]


def without(analysis: Analysis, name: str, dim: int, positions: list[int]) -> Any:
    """Bool by class: all but the channels at these positions of a parameter's dimension."""
    (slot,) = [s for s in analysis.leaves[name][0] if varying(s) == (dim,)]
    classes = torch.ones(analysis.classes, dtype=torch.bool).numpy()
    classes[analysis.slot_classes(slot).reshape(-1)[positions]] = False
    return classes
