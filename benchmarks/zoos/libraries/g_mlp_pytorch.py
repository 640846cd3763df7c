"""g_mlp_pytorch: perceptrons with gates over the sequence."""

from __future__ import annotations

from typing import Any

import torch
from g_mlp_pytorch import gMLP, gMLPVision
from torch import nn

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures


def _language(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = gMLP(num_tokens=64, dim=32, depth=2, seq_len=16, **options)
        return model, torch.randint(0, 64, (4, 16))

    return build


def _vision(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = gMLPVision(image_size=32, patch_size=8, num_classes=5, dim=32, depth=2, **options)
        return model, pictures(4, 3, 32, 32)

    return build


MODELS: dict[str, Builder] = {
    "language": _language(),
    "causal_heads": _language(causal=True, heads=4),
    "circulant": _language(circulant_matrix=True, causal=True),
    "attention": _language(attn_dim=16),
    "shifted_tokens": _language(shift_tokens=1),
    "vision": _vision(),
    "vision_attention": _vision(attn_dim=16, heads=2),
}
