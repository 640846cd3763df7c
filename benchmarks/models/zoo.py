"""Named models with example inputs, small enough to analyse and run in seconds on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.models.imagenet import torchvision_model
from benchmarks.models.lenet import LeNet5
from benchmarks.models.randomise import randomise
from benchmarks.models.resnet_cifar import resnet20, resnet56
from benchmarks.models.vgg import Vgg16Bn
from benchmarks.models.vit import Vit, VitConfig
from benchmarks.models.wide_resnet import WideResNet


@dataclass(frozen=True)
class Entry:
    """A way to make a model, and the shape of one example (C, H, W) that it reads."""

    make: Callable[[], nn.Module]
    example: tuple[int, int, int]


CIFAR = (3, 32, 32)
# The real nets read 224x224; the structure is the same at 64x64 and runs twelve times faster.
IMAGENET = (3, 64, 64)
ZOO = {
    "lenet5": Entry(LeNet5, (1, 28, 28)),
    "vgg16_bn": Entry(Vgg16Bn, CIFAR),
    "resnet20": Entry(resnet20, CIFAR),
    "resnet56": Entry(resnet56, CIFAR),
    "wide_resnet28_10": Entry(WideResNet, CIFAR),
    "vit": Entry(Vit, CIFAR),
    "vit_unfused": Entry(functools.partial(Vit, VitConfig(fused=False)), CIFAR),
    **{
        name: Entry(functools.partial(torchvision_model, name), IMAGENET)
        for name in ("resnet50", "mobilenet_v2", "densenet121", "resnext50_32x4d")
    },
}


def build(name: str, *, batch: int = 2, seed: int = 0) -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Model ``name`` of the zoo in eval mode, and example inputs ``(x,)``.

    The weights are random and never degenerate (see ``randomise``); ``x`` is float32 of shape
    (``batch``, C, H, W). The same seed gives the same model, and torch's own generator is left
    as it was. Raises KeyError for a name not in the zoo.
    """
    entry = ZOO[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = randomise(entry.make(), torch.randn(8, *entry.example), seed)
        return model, (torch.randn(batch, *entry.example),)
