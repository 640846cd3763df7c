"""pytorch_tabnet: TabNet without its training loop."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_tabnet.tab_network import TabNet, TabNetNoEmbeddings, TabNetPretraining
from torch import nn

from benchmarks.zoos.libraries import Builder

SIZES: dict[str, Any] = {"input_dim": 12, "n_d": 16, "n_a": 16, "n_steps": 2}
SIZES |= {"group_attention_matrix": torch.eye(12)}


def _numbers(mask: str) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return TabNetNoEmbeddings(output_dim=3, mask_type=mask, **SIZES), torch.randn(16, 12)

    return build


def _categories() -> tuple[nn.Module, Any]:
    model = TabNet(output_dim=3, cat_idxs=[0, 1], cat_dims=[4, 5], cat_emb_dim=[3, 2], **SIZES)
    rows = torch.randn(16, 12)
    rows[:, :2] = torch.randint(0, 4, (16, 2)).float()
    return model, rows


def _pretraining() -> tuple[nn.Module, Any]:
    return TabNetPretraining(**SIZES), torch.randn(16, 12)


MODELS: dict[str, Builder] = {
    "sparsemax": _numbers("sparsemax"),
    "entmax": _numbers("entmax"),
    "categories": _categories,
    "pretraining": _pretraining,
}
