"""denoising_diffusion_pytorch: the networks that predict noise."""

from __future__ import annotations

from typing import Any

import torch
from denoising_diffusion_pytorch import KarrasUnet, KarrasUnet1D, KarrasUnet3D, Unet, Unet1D
from denoising_diffusion_pytorch.classifier_free_guidance import Unet as GuidedUnet
from denoising_diffusion_pytorch.simple_diffusion import UViT
from torch import nn

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures

TIMES = torch.tensor([3.0, 70.0])
SMALL: dict[str, Any] = {"dim": 16, "dim_mults": (1, 2), "attn_dim_head": 8, "attn_heads": 2}
KARRAS: dict[str, Any] = {"dim": 16, "dim_max": 32, "num_downsamples": 1, "attn_dim_head": 8}
KARRAS |= {"num_blocks_per_stage": 1, "attn_res": (8,), "channels": 3}


def _unet(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return Unet(**(SMALL | options)), (pictures(2, 3, 16, 16), TIMES)

    return build


def _unet_1d() -> tuple[nn.Module, Any]:
    return Unet1D(**SMALL), (torch.randn(2, 3, 32), TIMES)


def _guided() -> tuple[nn.Module, Any]:
    model = GuidedUnet(**SMALL, num_classes=5, cond_drop_prob=0.0)
    return model, (pictures(2, 3, 16, 16), TIMES, torch.tensor([1, 4]))


def _uvit(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return UViT(**SMALL, vit_depth=1, **options), (pictures(2, 3, 32, 32), TIMES)

    return build


def _karras(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return KarrasUnet(image_size=16, **KARRAS, **options), (pictures(2, 3, 16, 16), TIMES)

    return build


def _karras_1d() -> tuple[nn.Module, Any]:
    return KarrasUnet1D(seq_len=16, **KARRAS), (torch.randn(2, 3, 16), TIMES)


def _karras_3d() -> tuple[nn.Module, Any]:
    model = KarrasUnet3D(image_size=16, frames=4, **KARRAS)
    return model, (pictures(2, 3, 4, 16, 16), TIMES)


MODELS: dict[str, Builder] = {
    "unet": _unet(),
    "unet_learned_time": _unet(learned_sinusoidal_cond=True),
    "unet_self_condition": _unet(self_condition=True),
    "unet_full_attention": _unet(full_attn=(True, True)),
    "unet_1d": _unet_1d,
    "unet_guided": _guided,
    "uvit": _uvit(),
    "uvit_dual_patchnorm": _uvit(patch_size=2, dual_patchnorm=True),
    "karras": _karras(),
    "karras_1d": _karras_1d,
    "karras_3d": _karras_3d,
}
