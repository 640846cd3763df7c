"""mambapy: state space models in plain PyTorch, small."""

from __future__ import annotations

from typing import Any

import torch
from mambapy.mamba import Mamba, MambaConfig
from torch import nn

from benchmarks.zoos.libraries import Builder


def _mamba(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        config = MambaConfig(d_model=24, n_layers=2, d_state=4, **options)
        return Mamba(config), torch.randn(2, 8, 24)

    return build


MODELS: dict[str, Builder] = {
    "mamba": _mamba(),
    "mamba_norms": _mamba(inner_layernorms=True),
    "mamba_steps": _mamba(pscan=False, bias=True),
}
