"""vector_quantize_pytorch: an autoencoder around each quantiser."""

from __future__ import annotations

from typing import Any

import torch
import vector_quantize_pytorch as library
from torch import nn

from benchmarks.zoos.libraries import Builder

WIDTH = 16


class Autoencoder(nn.Module):
    """Two layers to the quantiser, and two from it."""

    def __init__(self, quantiser: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(12, 32), nn.GELU(), nn.Linear(32, WIDTH))
        self.quantiser = quantiser
        self.decoder = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A series, as it looks after quantising."""
        return self.decoder(self.quantiser(self.encoder(x))[0])


def _around(name: str, /, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return Autoencoder(getattr(library, name)(**options)), torch.randn(4, 10, 12)

    return build


MODELS: dict[str, Builder] = {
    "vector_quantize": _around("VectorQuantize", dim=WIDTH, codebook_size=32),
    "projected": _around("VectorQuantize", dim=WIDTH, codebook_size=32, codebook_dim=8),
    "cosine": _around("VectorQuantize", dim=WIDTH, codebook_size=32, use_cosine_sim=True),
    "heads": _around("VectorQuantize", dim=WIDTH, codebook_size=32, codebook_dim=8, heads=4),
    "residual": _around("ResidualVQ", dim=WIDTH, codebook_size=32, num_quantizers=3),
    "grouped_residual": _around(
        "GroupedResidualVQ", dim=WIDTH, codebook_size=32, num_quantizers=2, groups=2
    ),
    "fsq": _around("FSQ", levels=[8, 5, 5], dim=WIDTH),
    "residual_fsq": _around("ResidualFSQ", levels=[8, 5, 5], num_quantizers=2, dim=WIDTH),
    "lfq": _around("LFQ", codebook_size=64, dim=WIDTH),
    "sim_vq": _around("SimVQ", dim=WIDTH, codebook_size=32),
    "residual_sim_vq": _around("ResidualSimVQ", dim=WIDTH, codebook_size=32, num_quantizers=2),
}
