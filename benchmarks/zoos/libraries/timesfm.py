"""timesfm: the transformer of the forecaster, small."""

from __future__ import annotations

from typing import Any

import torch
from timesfm import configs
from timesfm.torch import dense, transformer
from torch import nn

from benchmarks.zoos.libraries import Builder

WIDTH, PATCH = 32, 8


class Forecaster(nn.Module):
    """The parts of TimesFM 2.5 in their order, with narrow layers; its class has a fixed size."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        block = configs.ResidualBlockConfig(2 * PATCH, WIDTH, WIDTH, True, "swish")
        head = configs.ResidualBlockConfig(WIDTH, WIDTH, 12, False, "swish")
        layer = configs.TransformerConfig(
            WIDTH, WIDTH, 4, "rms", "rms", "rms", False, True, "swish", fused
        )
        self.tokenizer = dense.ResidualBlock(block)
        self.layers = nn.ModuleList([transformer.Transformer(layer) for _ in range(2)])
        self.head = dense.ResidualBlock(head)

    def forward(self, series: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
        """Forecasts for series (batch, patches, length of a patch) and where they have no value."""
        x = self.tokenizer(torch.cat([series, missing.to(series.dtype)], dim=-1))
        for layer in self.layers:
            x, _ = layer(x, missing[..., -1], None)
        return self.head(x)


def _forecaster(fused: bool) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        missing = torch.zeros(4, 6, PATCH, dtype=torch.bool)
        missing[0, 0] = True
        return Forecaster(fused), (torch.randn(4, 6, PATCH), missing)

    return build


MODELS: dict[str, Builder] = {"forecaster": _forecaster(False), "fused": _forecaster(True)}
