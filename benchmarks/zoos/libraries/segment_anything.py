"""segment_anything: encoder of images and decoder of masks, small."""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import nn

from benchmarks.zoos.libraries import Builder


def _encoder(**options: Any) -> ImageEncoderViT:
    sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
    return ImageEncoderViT(**{**sizes, "out_chans": 32, **options})


def _decoder() -> MaskDecoder:
    transformer = TwoWayTransformer(depth=2, embedding_dim=32, num_heads=4, mlp_dim=48)
    return MaskDecoder(transformer_dim=32, transformer=transformer, iou_head_hidden_dim=24)


def _image(**options: Any) -> Builder:
    return lambda: (_encoder(**options), torch.randn(2, 3, 64, 64))


def _masks() -> tuple[nn.Module, Any]:
    given = {
        "image_embeddings": torch.randn(1, 32, 8, 8),
        "image_pe": torch.randn(1, 32, 8, 8),
        "sparse_prompt_embeddings": torch.randn(3, 2, 32),
        "dense_prompt_embeddings": torch.randn(3, 32, 8, 8),
    }
    return _decoder(), ((), {**given, "multimask_output": True})


def _prompts() -> tuple[nn.Module, Any]:
    model = PromptEncoder(32, (8, 8), (64, 64), mask_in_chans=16)
    points = (torch.rand(2, 3, 2) * 60, torch.tensor([[1, 0, 1], [0, 1, 1]]))
    masks = torch.randn(2, 1, 32, 32)
    return model, ((points, torch.rand(2, 4) * 60, masks), {})


def _whole() -> tuple[nn.Module, Any]:
    model = Sam(_encoder(), PromptEncoder(32, (8, 8), (64, 64), mask_in_chans=16), _decoder())
    given = {
        "image": torch.rand(3, 64, 64) * 255,
        "original_size": (64, 64),
        "point_coords": torch.rand(2, 3, 2) * 60,
        "point_labels": torch.ones(2, 3),
    }
    return model, (([given], True), {})


MODELS: dict[str, Builder] = {
    "encoder": _image(),
    "encoder_windows": _image(use_rel_pos=True, window_size=3, global_attn_indexes=(1,)),
    "masks": _masks,
    "prompts": _prompts,
    "sam": _whole,
}
