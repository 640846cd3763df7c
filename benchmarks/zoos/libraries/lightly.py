"""lightly: models of self-supervised learning and their heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightly.models import ResNetGenerator
from lightly.models.modules import SwaVPrototypes
from lightly.models.modules.heads import (
    BarlowTwinsProjectionHead,
    BYOLPredictionHead,
    BYOLProjectionHead,
    DINOProjectionHead,
    DINOv2ProjectionHead,
    MMCRProjectionHead,
    MoCoProjectionHead,
    MSNProjectionHead,
    NNCLRPredictionHead,
    NNCLRProjectionHead,
    SimCLRProjectionHead,
    SimSiamPredictionHead,
    SimSiamProjectionHead,
    SMoGPredictionHead,
    SMoGProjectionHead,
    SwaVProjectionHead,
    TiCoProjectionHead,
    VICRegProjectionHead,
)
from torch import nn

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures

WIDTH, HIDDEN, OUT = 24, 32, 16


def _backbone() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, WIDTH, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _headed(*heads: Callable[[], nn.Module]) -> Builder:
    """A small backbone with the heads of a method on top."""

    def build() -> tuple[nn.Module, Any]:
        return nn.Sequential(_backbone(), *(make() for make in heads)), pictures(8, 3, 16, 16)

    return build


def _resnet(name: str, width: float) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return ResNetGenerator(name, width=width, num_classes=5), pictures(8, 3, 32, 32)

    return build


MODELS: dict[str, Builder] = {
    "resnet_9": _resnet("resnet-9", 0.25),
    "resnet_18": _resnet("resnet-18", 0.125),
    "resnet_50": _resnet("resnet-50", 0.125),
    "barlow_twins": _headed(lambda: BarlowTwinsProjectionHead(WIDTH, HIDDEN, OUT)),
    "byol": _headed(
        lambda: BYOLProjectionHead(WIDTH, HIDDEN, OUT), lambda: BYOLPredictionHead(OUT, HIDDEN, OUT)
    ),
    "dino": _headed(lambda: DINOProjectionHead(WIDTH, HIDDEN, OUT, 40)),
    "moco": _headed(lambda: MoCoProjectionHead(WIDTH, HIDDEN, OUT)),
    "nnclr": _headed(
        lambda: NNCLRProjectionHead(WIDTH, HIDDEN, OUT),
        lambda: NNCLRPredictionHead(OUT, HIDDEN, OUT),
    ),
    "simclr": _headed(lambda: SimCLRProjectionHead(WIDTH, HIDDEN, OUT)),
    "simsiam": _headed(
        lambda: SimSiamProjectionHead(WIDTH, HIDDEN, OUT),
        lambda: SimSiamPredictionHead(OUT, HIDDEN, OUT),
    ),
    "smog": _headed(
        lambda: SMoGProjectionHead(WIDTH, HIDDEN, OUT), lambda: SMoGPredictionHead(OUT, HIDDEN, OUT)
    ),
    "tico": _headed(lambda: TiCoProjectionHead(WIDTH, HIDDEN, OUT)),
    "mmcr": _headed(lambda: MMCRProjectionHead(WIDTH, HIDDEN, HIDDEN, OUT)),
    "msn": _headed(lambda: MSNProjectionHead(WIDTH, HIDDEN, OUT)),
    "dino_v2": _headed(lambda: DINOv2ProjectionHead(WIDTH, HIDDEN, OUT, 40)),
    "swav": _headed(
        lambda: SwaVProjectionHead(WIDTH, HIDDEN, OUT), lambda: SwaVPrototypes(OUT, n_prototypes=40)
    ),
    "vicreg": _headed(lambda: VICRegProjectionHead(WIDTH, HIDDEN, OUT)),
}
