"""local_attention: transformers whose attention is within windows."""

from __future__ import annotations

from typing import Any

import torch
from local_attention import LocalTransformer
from torch import nn

from benchmarks.zoos.libraries import Builder


def _language(length: int = 32, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = LocalTransformer(
            num_tokens=64,
            max_seq_len=32,
            dim=32,
            depth=2,
            local_attn_window_size=8,
            dim_head=8,
            heads=4,
            **options,
        )
        return model, torch.randint(0, 64, (2, length))

    return build


MODELS: dict[str, Builder] = {
    "causal": _language(),
    "padded": _language(29),
    "both_sides": _language(causal=False),
    "xpos": _language(use_xpos=True),
    "dynamic_bias": _language(use_dynamic_pos_bias=True),
}
