"""pytorchvideo: recognition of videos, small."""

from __future__ import annotations

from typing import Any

import torch
from pytorchvideo.models.csn import create_csn
from pytorchvideo.models.r2plus1d import create_r2plus1d
from pytorchvideo.models.resnet import create_resnet
from pytorchvideo.models.slowfast import create_slowfast
from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers
from pytorchvideo.models.x3d import create_x3d
from torch import nn

from benchmarks.zoos.libraries import Builder


def _clip(*sizes: int) -> torch.Tensor:
    return torch.randn(2, 3, *sizes)


def _x3d() -> tuple[nn.Module, Any]:
    model = create_x3d(
        input_clip_length=4,
        input_crop_size=64,
        model_num_class=5,
        width_factor=1.0,
        depth_factor=1.0,
    )
    return model, _clip(4, 64, 64)


def _resnet() -> tuple[nn.Module, Any]:
    model = create_resnet(stem_dim_out=8, model_num_class=5, head_pool_kernel_size=(4, 2, 2))
    return model, _clip(4, 64, 64)


def _csn() -> tuple[nn.Module, Any]:
    model = create_csn(stem_dim_out=8, model_num_class=5, head_pool_kernel_size=(1, 2, 2))
    return model, _clip(8, 64, 64)


def _slowfast() -> tuple[nn.Module, Any]:
    model = create_slowfast(
        model_num_class=5,
        slowfast_channel_reduction_ratio=(4,),
        stem_dim_outs=(16, 4),
        head_pool_kernel_sizes=((2, 2, 2), (8, 2, 2)),
    )
    return model, ([_clip(2, 64, 64), _clip(8, 64, 64)],)


def _multiscale() -> tuple[nn.Module, Any]:
    model = create_multiscale_vision_transformers(
        spatial_size=32,
        temporal_size=4,
        depth=3,
        patch_embed_dim=16,
        num_heads=2,
        embed_dim_mul=[[1, 2.0]],
        atten_head_mul=[[1, 2.0]],
        pool_q_stride_size=[[1, 1, 2, 2]],
        pool_kv_stride_adaptive=[1, 2, 2],
        pool_kvq_kernel=[3, 3, 3],
        head_num_classes=5,
    )
    return model, _clip(4, 32, 32)


MODELS: dict[str, Builder] = {
    "csn": _csn,
    "multiscale_vit": _multiscale,
    "r2plus1d": lambda: (
        create_r2plus1d(model_num_class=5, head_pool_kernel_size=(1, 2, 2)),
        _clip(8, 64, 64),
    ),
    "resnet": _resnet,
    "slowfast": _slowfast,
    "x3d": _x3d,
}
