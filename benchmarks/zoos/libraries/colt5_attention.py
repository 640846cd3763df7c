"""colt5_attention: routed, light and heavy attention."""

from __future__ import annotations

from typing import Any

import torch
from colt5_attention import ConditionalRoutedFeedForward, ConditionalRoutedTransformerBlock
from colt5_attention.vit import ConditionalRoutedViT
from torch import nn

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures


def _feed_forward() -> tuple[nn.Module, Any]:
    model = ConditionalRoutedFeedForward(32, num_heavy_tokens=6)
    return model, torch.randn(2, 24, 32)


def _block() -> tuple[nn.Module, Any]:
    model = ConditionalRoutedTransformerBlock(
        32,
        num_heavy_attn_tokens_q=6,
        num_heavy_attn_tokens_kv=6,
        num_heavy_ff_tokens=6,
        light_dim_head=8,
        light_heads=4,
        light_window_size=8,
        heavy_dim_head=8,
        heavy_heads=4,
    )
    return model, torch.randn(2, 24, 32)


def _vision() -> tuple[nn.Module, Any]:
    model = ConditionalRoutedViT(
        image_size=32,
        patch_size=4,
        num_classes=5,
        dim=32,
        depth=2,
        attn_num_heavy_tokens_q=8,
        attn_num_heavy_tokens_kv=8,
        attn_heavy_dim_head=8,
        attn_heavy_heads=4,
        attn_light_dim_head=8,
        attn_light_heads=4,
        attn_light_window_size=4,
        ff_num_heavy_tokens=8,
        ff_heavy_mult=2,
        ff_light_mult=0.5,
    )
    return model, pictures(2, 3, 32, 32)


MODELS: dict[str, Builder] = {"feed_forward": _feed_forward, "block": _block, "vit": _vision}
