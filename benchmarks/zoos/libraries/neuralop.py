"""neuralop: neural operators on grids, small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from neuralop.models import CODANO, FNO, TFNO, UNO
from torch import nn

from benchmarks.zoos.libraries import Builder


def _grid(cls: Callable[..., nn.Module], *sizes: int, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = cls(in_channels=2, out_channels=3, hidden_channels=16, n_layers=2, **options)
        return model, torch.randn(2, 2, *sizes)

    return build


def _shaped_as_u() -> tuple[nn.Module, Any]:
    model = UNO(
        2,
        3,
        16,
        lifting_channels=16,
        projection_channels=16,
        n_layers=3,
        uno_out_channels=[16, 24, 16],
        uno_n_modes=[[4, 4], [4, 4], [4, 4]],
        uno_scalings=[[1.0, 1.0], [0.5, 0.5], [2.0, 2.0]],
        horizontal_skips_map={2: 0},
        channel_mlp_skip="linear",
    )
    return model, torch.randn(2, 2, 16, 16)


def _complex() -> tuple[nn.Module, Any]:
    model, real = _grid(FNO, 16, 16, n_modes=(6, 6), complex_data=True)()
    return model, torch.complex(real, torch.randn_like(real))


def _codomain() -> tuple[nn.Module, Any]:
    model = CODANO(
        n_layers=2,
        n_modes=[[4, 4], [4, 4]],
        n_heads=[2, 2],
        lifting_channels=16,
        hidden_variable_codimension=8,
        projection_channels=16,
        per_layer_scaling_factors=[[1, 1], [1, 1]],
        attention_scaling_factors=[1, 1],
    )
    return model, torch.randn(2, 3, 16, 16)


MODELS: dict[str, Builder] = {
    "codano": _codomain,
    "fno_1d": _grid(FNO, 32, n_modes=(8,)),
    "fno_2d": _grid(FNO, 16, 16, n_modes=(6, 6)),
    "fno_2d_norm": _grid(FNO, 16, 16, n_modes=(6, 6), norm="group_norm", preactivation=True),
    "fno_2d_skips": _grid(
        FNO, 16, 16, n_modes=(6, 6), fno_skip="soft-gating", channel_mlp_skip="linear"
    ),
    "fno_2d_separable": _grid(FNO, 16, 16, n_modes=(6, 6), separable=True),
    "fno_3d": _grid(FNO, 8, 8, 8, n_modes=(4, 4, 4)),
    "fno_complex": _complex,
    "tfno": _grid(TFNO, 16, 16, n_modes=(6, 6), rank=0.3),
    "tfno_cp": _grid(TFNO, 16, 16, n_modes=(6, 6), factorization="cp", rank=0.3),
    "uno": _shaped_as_u,
}
