"""perceiver_pytorch: its perceivers, small."""

from __future__ import annotations

from typing import Any

import torch
from perceiver_pytorch import (
    Perceiver,
    PerceiverIO,
    PerceiverLM,
    gated,
    mixed_latents,
)
from torch import nn

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures

SIZES: dict[str, Any] = {
    "num_freq_bands": 4,
    "depth": 2,
    "max_freq": 10.0,
    "num_latents": 8,
    "latent_dim": 32,
    "cross_dim_head": 8,
    "latent_heads": 4,
    "latent_dim_head": 8,
    "num_classes": 5,
}


def _perceiver(cls: type[nn.Module], **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        picture = pictures(4, 3, 16, 16).permute(0, 2, 3, 1).contiguous()
        return cls(**(SIZES | options)), picture

    return build


def _io(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = PerceiverIO(
            depth=2,
            dim=12,
            queries_dim=16,
            logits_dim=5,
            num_latents=8,
            latent_dim=32,
            cross_dim_head=8,
            latent_heads=4,
            latent_dim_head=8,
            **options,
        )
        return model, ((torch.randn(4, 20, 12),), {"queries": torch.randn(6, 16)})

    return build


def _language() -> tuple[nn.Module, Any]:
    model = PerceiverLM(
        num_tokens=64,
        max_seq_len=16,
        dim=24,
        depth=2,
        num_latents=8,
        latent_dim=32,
        latent_heads=4,
        latent_dim_head=8,
        cross_dim_head=8,
    )
    return model, torch.randint(0, 64, (4, 16))


MODELS: dict[str, Builder] = {
    "perceiver": _perceiver(Perceiver),
    "tied": _perceiver(Perceiver, weight_tie_layers=True, self_per_cross_attn=2),
    "attention_of_residuals": _perceiver(Perceiver, attn_residual=True, attn_residual_rank=8),
    "inverted": _perceiver(Perceiver, inverted_cross_attn=True),
    "gated": _perceiver(gated.Perceiver),
    "mixed_latents": _perceiver(mixed_latents.Perceiver),
    "io": _io(),
    "io_decoder_ff": _io(decoder_ff=True),
    "language": _language,
}
