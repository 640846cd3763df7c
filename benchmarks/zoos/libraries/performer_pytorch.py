"""performer_pytorch: transformers with attention by random features."""

from __future__ import annotations

from typing import Any

import torch
from performer_pytorch import Performer, PerformerEncDec, PerformerLM
from torch import nn

from benchmarks.zoos.libraries import Builder

SIZES: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 4, "dim_head": 8, "nb_features": 16}
SIZES |= {"auto_check_redraw": False}


def _language(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = PerformerLM(num_tokens=64, max_seq_len=32, **(SIZES | options))
        return model, torch.randint(0, 64, (2, 32))

    return build


def _encoder(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return Performer(**(SIZES | options)), torch.randn(2, 32, 32)

    return build


def _translator() -> tuple[nn.Module, Any]:
    sides = {
        f"{side}_{key}": value
        for side in ("enc", "dec")
        for key, value in {
            "num_tokens": 64,
            "max_seq_len": 32,
            "depth": 2,
            "heads": 4,
            "dim_head": 8,
        }.items()
    }
    model = PerformerEncDec(dim=32, **sides)
    words = torch.randint(1, 64, (2, 32))
    return model, ((words, words), {"return_loss": False})


MODELS: dict[str, Builder] = {
    "language": _language(),
    "causal": _language(causal=True),
    "generalized": _language(generalized_attention=True),
    "no_projection": _language(no_projection=True),
    "local_heads": _language(local_attn_heads=2, local_window_size=8),
    "reversible": _language(reversible=True),
    "shifted_tokens": _language(shift_tokens=True),
    "scalenorm_glu": _language(use_scalenorm=True, ff_glu=True),
    "rezero": _language(use_rezero=True),
    "rotary": _language(rotary_position_emb=True),
    "tied": _language(tie_embed=True),
    "encoder": _encoder(),
    "encoder_decoder": _translator,
}
