"""tab_transformer_pytorch: transformers for tables."""

from __future__ import annotations

from typing import Any

import torch
from tab_transformer_pytorch import FTTransformer, TabTransformer
from torch import nn

from benchmarks.zoos.libraries import Builder

COLUMNS: dict[str, Any] = {"categories": (5, 4, 7), "num_continuous": 6}
SIZES: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 4, "dim_head": 8, "dim_out": 3}


def _table(cls: type[nn.Module], **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        chosen = torch.stack([torch.randint(0, n, (8,)) for n in COLUMNS["categories"]], dim=1)
        return cls(**COLUMNS, **SIZES, **options), (chosen, torch.randn(8, 6))

    return build


MODELS: dict[str, Builder] = {
    "tab_transformer": _table(TabTransformer, mlp_act=nn.ReLU()),
    "tab_transformer_one_stream": _table(TabTransformer, num_residual_streams=1, mlp_act=nn.ReLU()),
    "ft_transformer": _table(FTTransformer),
    "ft_transformer_one_stream": _table(FTTransformer, num_residual_streams=1),
}
