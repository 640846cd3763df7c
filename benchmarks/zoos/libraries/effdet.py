"""effdet: detectors with feature pyramids that are weighted, small."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks.zoos.libraries import Builder

# torch_geometric puts functions of its own into torch, which TorchScript cannot compile
with mock.patch.object(torch.jit, "script", lambda thing: thing):
    from effdet import EfficientDet, get_efficientdet_config


def _detector(name: str, **changes: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        config = get_efficientdet_config(name)
        config.update({"fpn_channels": 16, "fpn_cell_repeats": 2, "box_class_repeats": 1})
        config.update({"image_size": [128, 128], "num_classes": 5, **changes})
        return EfficientDet(config, pretrained_backbone=False), torch.randn(2, 3, 128, 128)

    return build


MODELS: dict[str, Builder] = {
    "d0": _detector("tf_efficientdet_d0"),
    "d0_sum": _detector("efficientdet_d0", fpn_name="bifpn_sum"),
    "lite0": _detector("tf_efficientdet_lite0"),
    "quad": _detector("efficientdet_d0", fpn_name="qufpn_fa"),
}
