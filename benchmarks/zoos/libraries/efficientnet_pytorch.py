"""lukemelas/EfficientNet-PyTorch."""

from __future__ import annotations

from efficientnet_pytorch import EfficientNet
from torch import nn

from benchmarks.zoos.pictures import pictures


def _efficientnet() -> tuple[nn.Module, object]:
    return EfficientNet.from_name("efficientnet-b0", image_size=64), pictures(2, 3, 64, 64)


MODELS = {"efficientnet_b0": _efficientnet}
