"""nystrom_attention: attention by landmarks and an iterated pseudo-inverse."""

from __future__ import annotations

from typing import Any

import torch
from nystrom_attention import Nystromformer
from torch import nn

from benchmarks.zoos.libraries import Builder


def _encoder(length: int, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = Nystromformer(
            dim=32, depth=2, dim_head=8, heads=4, num_landmarks=8, pinv_iterations=3, **options
        )
        return model, torch.randn(2, length, 32)

    return build


MODELS: dict[str, Builder] = {
    "encoder": _encoder(32),
    "padded": _encoder(27),
    "no_residual": _encoder(32, attn_values_residual=False),
}
