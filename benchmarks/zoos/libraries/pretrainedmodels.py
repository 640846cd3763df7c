"""Cadene/pretrained-models.pytorch: the smallest member of each family of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

import pretrainedmodels
from torch import nn

from benchmarks.zoos.pictures import pictures

SIDES = {
    "bninception": 224,
    "cafferesnet101": 224,
    "dpn68": 224,
    "fbresnet152": 224,
    "inceptionresnetv2": 299,
    "inceptionv4": 299,
    "nasnetamobile": 224,
    "pnasnet5large": 331,
    "polynet": 331,
    "resnext101_32x4d": 224,
    "se_resnet50": 224,
    "se_resnext50_32x4d": 224,
    "senet154": 224,
    "xception": 299,
}


def _network(name: str, side: int) -> tuple[nn.Module, Any]:
    model = pretrainedmodels.__dict__[name](num_classes=1000, pretrained=None)
    return model, pictures(2, 3, side, side)


MODELS = {name: partial(_network, name, side) for name, side in SIDES.items()}
