"""Time by depth: networks each twice as deep as the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from benchmarks.models.resnet_cifar import CifarResNet
from benchmarks.models.vit import Vit, VitConfig
from benchmarks.speed_versus import prune_ours


def _resnet(step: int) -> tuple[int, nn.Module]:
    depth = 108 * 2**step + 2
    return depth, CifarResNet((depth - 2) // 6)


def _transformer(step: int) -> tuple[int, nn.Module]:
    depth = 12 * 2**step
    return depth, Vit(VitConfig(depth=depth))


FAMILIES: dict[str, Callable[[int], tuple[int, nn.Module]]] = {
    "resnet": _resnet,
    "transformer": _transformer,
}


def growth(family: str, steps: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Depth, and CPU seconds of the capture and of all that follows until the model is small."""
    image = torch.randn(1, 3, 32, 32)
    prune_ours(FAMILIES[family](0)[1].eval(), image)  # to warm up
    for step in range(steps):
        depth, model = FAMILIES[family](step)
        _, seconds = prune_ours(model.eval(), image)
        captured = seconds.pop("capture")
        yield depth, {"capture": round(captured, 3), "rest": round(sum(seconds.values()), 3)}
