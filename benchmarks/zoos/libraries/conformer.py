"""conformer: convolution and attention with relative positions."""

from __future__ import annotations

from typing import Any

import torch
from conformer import Conformer
from torch import nn

from benchmarks.zoos.libraries import Builder


def _encoder(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = Conformer(
            dim=32, depth=2, dim_head=8, heads=4, ff_mult=2, conv_kernel_size=7, **options
        )
        return model, torch.randn(2, 24, 32)

    return build


MODELS: dict[str, Builder] = {"encoder": _encoder(), "causal": _encoder(conv_causal=True)}
