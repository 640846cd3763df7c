"""dynamic_network_architectures: the networks of nnU-Net, small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import (
    PlainConvUNet,
    ResidualEncoderUNet,
    ResidualUNet,
)
from torch import nn

from benchmarks.zoos.libraries import Builder

COMMON: dict[str, Any] = {
    "n_stages": 3,
    "features_per_stage": [8, 16, 24],
    "kernel_sizes": 3,
    "strides": [1, 2, 2],
    "num_classes": 3,
    "n_conv_per_stage_decoder": 1,
    "conv_bias": True,
    "nonlin": nn.LeakyReLU,
}
FLAT = {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "norm_op_kwargs": {"affine": True}}
SOLID = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"affine": True}}


def _unet(cls: Callable[..., nn.Module], *sizes: int, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return cls(2, **COMMON, **options), torch.randn(2, 2, *sizes)

    return build


MODELS: dict[str, Builder] = {
    "plain_2d": _unet(PlainConvUNet, 32, 32, n_conv_per_stage=2, **FLAT),
    "plain_3d": _unet(PlainConvUNet, 8, 16, 16, n_conv_per_stage=2, **SOLID),
    "plain_supervised": _unet(
        PlainConvUNet, 32, 32, n_conv_per_stage=2, deep_supervision=True, **FLAT
    ),
    "residual": _unet(ResidualUNet, 32, 32, n_blocks_per_stage=2, **FLAT),
    "residual_encoder": _unet(ResidualEncoderUNet, 32, 32, n_blocks_per_stage=2, **FLAT),
}
