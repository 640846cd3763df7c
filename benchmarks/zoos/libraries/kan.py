"""kan: networks of splines (pykan)."""

from __future__ import annotations

from typing import Any

import torch
from kan.MLP import MLP
from kan.MultKAN import MultKAN
from torch import nn

from benchmarks.zoos.libraries import Builder


def _splines(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = MultKAN(width=[4, 8, 8, 3], grid=4, k=3, auto_save=False, save_act=False, **options)
        return model, torch.randn(16, 4)

    return build


def _perceptron() -> tuple[nn.Module, Any]:
    return MLP([4, 16, 16, 3], save_act=False), torch.randn(16, 4)


MODELS: dict[str, Builder] = {
    "kan": _splines(),
    "kan_without_symbols": _splines(symbolic_enabled=False),
    "mlp": _perceptron,
}
