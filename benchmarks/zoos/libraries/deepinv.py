"""deepinv: denoisers and reconstruction of images, small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from deepinv.models import (
    DnCNN,
    DRUNet,
    DScCP,
    NCSNpp,
    Restormer,
    SCUNet,
    SwinIR,
    UNet,
)
from torch import nn

from benchmarks.zoos.libraries import Builder


def _denoiser(
    cls: Callable[..., nn.Module], *sizes: int, level: float | None = None, **options: Any
) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        image = torch.rand(2, 3, *sizes)
        return cls(**options), image if level is None else (image, level)

    return build


MODELS: dict[str, Builder] = {
    "dncnn": _denoiser(DnCNN, 16, 16, depth=5, nf=16, pretrained=None),
    "dncnn_3d": _denoiser(DnCNN, 8, 8, 8, depth=4, nf=8, pretrained=None, dim=3),
    "drunet": _denoiser(DRUNet, 32, 32, level=0.1, nc=(8, 12, 16, 24), nb=1, pretrained=None),
    "dsccp": _denoiser(DScCP, 16, 16, level=0.1, depth=4, n_channels_per_layer=16, pretrained=None),
    "ncsnpp": _denoiser(
        NCSNpp,
        16,
        16,
        level=0.1,
        img_resolution=16,
        model_channels=32,
        channel_mult=(1, 2),
        num_blocks=1,
        attn_resolutions=[8],
        pretrained=None,
    ),
    "restormer": _denoiser(
        Restormer,
        32,
        32,
        dim=16,
        num_blocks=(1, 1, 1, 1),
        num_refinement_blocks=1,
        heads=(1, 2, 2, 4),
        pretrained=None,
    ),
    "restormer_bias": _denoiser(
        Restormer,
        32,
        32,
        dim=16,
        num_blocks=(1, 1, 1, 1),
        num_refinement_blocks=1,
        heads=(1, 2, 2, 4),
        LayerNorm_type="WithBias",
        dual_pixel_task=False,
        bias=True,
        pretrained=None,
    ),
    "scunet": _denoiser(SCUNet, 64, 64, config=(1, 1, 1, 1, 1, 1, 1), dim=64, pretrained=None),
    "swinir": _denoiser(
        SwinIR,
        16,
        16,
        img_size=16,
        embed_dim=24,
        depths=(2, 2),
        num_heads=(2, 4),
        window_size=4,
        pretrained=None,
    ),
    "unet": _denoiser(
        UNet, 32, 32, in_channels=3, out_channels=3, scales=3, channels_per_scale=[8, 16, 24]
    ),
    "unet_plain": _denoiser(
        UNet,
        32,
        32,
        in_channels=3,
        out_channels=3,
        scales=2,
        channels_per_scale=[8, 16],
        batch_norm="biasfree",
        cat=False,
    ),
}
