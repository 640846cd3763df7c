"""mlmed/torchxrayvision: networks for X-ray pictures of the chest."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchxrayvision.models import DenseNet

from benchmarks.zoos.pictures import pictures


def _densenet() -> tuple[nn.Module, Any]:
    return DenseNet(num_classes=18, in_channels=1), pictures(2, 1, 64, 64)


MODELS = {"densenet": _densenet}
