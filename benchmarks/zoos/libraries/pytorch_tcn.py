"""pytorch_tcn: temporal convolutions."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_tcn import TCN
from torch import nn

from benchmarks.zoos.libraries import Builder


def _net(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = TCN(num_inputs=6, num_channels=[16, 16, 24], kernel_size=3, **options)
        return model, torch.randn(4, 6, 40)

    return build


def _conditioned() -> tuple[nn.Module, Any]:
    model = TCN(
        num_inputs=6,
        num_channels=[16, 16, 24],
        embedding_shapes=[(8,)],
        embedding_mode="add",
        output_projection=5,
    )
    return model, ((torch.randn(4, 6, 40),), {"embeddings": torch.randn(4, 8)})


MODELS: dict[str, Builder] = {
    "causal": _net(output_projection=5),
    "both_sides": _net(causal=False, output_projection=5),
    "skip_connections": _net(use_skip_connections=True, output_projection=5),
    "gated": _net(use_gate=True, output_projection=5),
    "batch_norm": _net(use_norm="batch_norm", output_projection=5),
    "layer_norm": _net(use_norm="layer_norm", output_projection=5),
    "conditioned": _conditioned,
}
