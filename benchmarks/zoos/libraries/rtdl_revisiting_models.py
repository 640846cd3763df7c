"""rtdl_revisiting_models and rtdl_num_embeddings: networks for tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from rtdl_num_embeddings import (
    LinearReLUEmbeddings,
    PeriodicEmbeddings,
    PiecewiseLinearEmbeddings,
    compute_bins,
)
from rtdl_revisiting_models import MLP, FTTransformer, ResNet
from torch import nn

from benchmarks.zoos.libraries import Builder


def _mlp() -> tuple[nn.Module, Any]:
    model = MLP(d_in=12, d_out=3, n_blocks=2, d_block=32, dropout=0.1)
    return model, torch.randn(8, 12)


def _resnet() -> tuple[nn.Module, Any]:
    model = ResNet(
        d_in=12,
        d_out=3,
        n_blocks=2,
        d_block=32,
        d_hidden_multiplier=2.0,
        dropout1=0.1,
        dropout2=0.0,
    )
    return model, torch.randn(8, 12)


def _transformer(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = FTTransformer(
            n_cont_features=6,
            cat_cardinalities=[4, 5],
            d_out=3,
            n_blocks=2,
            d_block=32,
            attention_n_heads=4,
            attention_dropout=0.1,
            ffn_d_hidden_multiplier=1.5,
            ffn_dropout=0.1,
            residual_dropout=0.0,
            **options,
        )
        return model, (torch.randn(8, 6), torch.randint(0, 4, (8, 2)))

    return build


def _embedded(make: Callable[[], nn.Module]) -> Builder:
    """An embedding of each number, and a perceptron on all of them."""

    def build() -> tuple[nn.Module, Any]:
        perceptron = MLP(d_in=6 * 16, d_out=3, n_blocks=2, d_block=32, dropout=0.1)
        return nn.Sequential(make(), nn.Flatten(), perceptron), torch.randn(8, 6)

    return build


MODELS: dict[str, Builder] = {
    "mlp": _mlp,
    "resnet": _resnet,
    "ft_transformer": _transformer(),
    "ft_transformer_linformer": _transformer(
        linformer_kv_compression_ratio=0.5, linformer_kv_compression_sharing="headwise"
    ),
    "mlp_linear_embeddings": _embedded(lambda: LinearReLUEmbeddings(6, 16)),
    "mlp_periodic": _embedded(lambda: PeriodicEmbeddings(6, 16, n_frequencies=12, lite=False)),
    "mlp_periodic_lite": _embedded(lambda: PeriodicEmbeddings(6, 16, n_frequencies=12, lite=True)),
    "mlp_piecewise": _embedded(
        lambda: PiecewiseLinearEmbeddings(
            compute_bins(torch.randn(100, 6), n_bins=8), 16, activation=True, version="B"
        )
    ),
}
