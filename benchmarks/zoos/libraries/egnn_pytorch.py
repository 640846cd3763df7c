"""egnn_pytorch: graphs of points, equivariant under motions, small."""

from __future__ import annotations

from typing import Any

import torch
from egnn_pytorch import EGNN, EGNN_Network
from torch import nn

from benchmarks.zoos.libraries import Builder


def _layer(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return EGNN(dim=16, m_dim=12, **options), (torch.randn(2, 7, 16), torch.randn(2, 7, 3))

    return build


def _network(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = EGNN_Network(num_tokens=11, dim=16, depth=2, m_dim=12, **options)
        return model, (torch.randint(0, 11, (2, 7)), torch.randn(2, 7, 3))

    return build


MODELS: dict[str, Builder] = {
    "layer": _layer(),
    "layer_fourier": _layer(fourier_features=2, norm_coors=True, soft_edges=True),
    "network": _network(num_positions=16),
    "network_attention": _network(global_linear_attn_every=1, global_linear_attn_heads=2),
    "network_neighbors": _network(num_nearest_neighbors=3, norm_coors=True),
}
