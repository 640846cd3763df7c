"""The models of the comparison of speed: from torchvision, which Torch-Pruning prunes unaided."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.models.imagenet import torchvision

NAMES = (
    "resnet50",
    "resnext50_32x4d",
    "densenet121",
    "vgg16_bn",
    "squeezenet1_1",
    "googlenet",
    "inception_v3",
    "mnasnet1_0",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "regnet_y_400mf",
    "convnext_tiny",
    "wide_resnet50_2",
    "alexnet",
)


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A model without trained weights and without auxiliary heads, and one image, (1, 3, S, S)."""
    options = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False}
    size = 299 if name == "inception_v3" else 224
    model: nn.Module = torchvision().models.get_model(name, weights=None, **options)
    return model.eval(), torch.randn(1, 3, size, size)


def classifier(model: nn.Module) -> nn.Module:
    """The layer that gives the class scores: its outputs must stay."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1]
