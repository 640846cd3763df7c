"""linformer: attention over projected sequences."""

from __future__ import annotations

from typing import Any

import torch
from linformer import Linformer, LinformerLM
from torch import nn

from benchmarks.zoos.libraries import Builder

SIZES: dict[str, Any] = {"dim": 32, "seq_len": 24, "depth": 2, "heads": 4, "k": 8}


def _encoder(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return Linformer(**SIZES, **options), torch.randn(4, 24, 32)

    return build


def _language(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = LinformerLM(num_tokens=64, **SIZES, **options)
        return model, torch.randint(0, 64, (4, 24))

    return build


MODELS: dict[str, Builder] = {
    "encoder": _encoder(),
    "language": _language(),
    "one_kv_head": _language(one_kv_head=True),
    "shared_kv": _language(share_kv=True),
    "reversible": _language(reversible=True),
}
