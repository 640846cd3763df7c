"""reformer_pytorch: transformers with attention by hashing, reversible blocks and chunks."""

from __future__ import annotations

from typing import Any

import torch
from reformer_pytorch import Reformer, ReformerLM
from torch import nn

from benchmarks.zoos.libraries import Builder

SIZES: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 4, "bucket_size": 8, "n_hashes": 2}


def _language(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = ReformerLM(
            num_tokens=64, max_seq_len=32, **(SIZES | {"dim_head": 8, "causal": True} | options)
        )
        return model, torch.randint(0, 64, (2, 32))

    return build


def _encoder(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return Reformer(**(SIZES | options)), torch.randn(2, 32, 32)

    return build


MODELS: dict[str, Builder] = {
    "language": _language(),
    "full_attention": _language(use_full_attn=True),
    "axial_position": _language(axial_position_emb=True, axial_position_shape=(8, 4)),
    "product_keys": _language(pkm_layers=(2,), pkm_num_keys=32, use_full_attn=True),
    "scalenorm_glu": _language(use_scale_norm=True, ff_glu=True, use_full_attn=True),
    "rezero": _language(use_rezero=True, use_full_attn=True),
    "tied": _language(weight_tie=True, weight_tie_embedding=True, use_full_attn=True),
    "local_heads": _language(n_local_attn_heads=2, use_full_attn=True),
    "memory": _language(num_mem_kv=4, use_full_attn=True),
    "encoder": _encoder(),
    "encoder_full": _encoder(use_full_attn=True),
}
