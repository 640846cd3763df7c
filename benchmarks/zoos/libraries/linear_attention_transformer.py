"""linear_attention_transformer: language models with attention of linear cost, small."""

from __future__ import annotations

from typing import Any

import torch
from linear_attention_transformer import LinearAttentionTransformerLM
from torch import nn

from benchmarks.zoos.libraries import Builder


def _language(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = LinearAttentionTransformerLM(
            num_tokens=64, dim=32, heads=4, depth=2, max_seq_len=32, dim_head=8, **options
        )
        return model, torch.randint(0, 64, (2, 32))

    return build


MODELS: dict[str, Builder] = {
    "both_sides": _language(),
    "causal": _language(causal=True, blindspot_size=2),
    "local": _language(causal=True, n_local_attn_heads=2, local_attn_window_size=8),
    "reversible": _language(reversible=True, ff_chunks=2, ff_glu=True),
    "rotary": _language(use_rotary_emb=True, shift_tokens=True),
}
