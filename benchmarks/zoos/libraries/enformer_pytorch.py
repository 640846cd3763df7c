"""enformer_pytorch: sequence to tracks, small."""

from __future__ import annotations

from typing import Any

import torch
from enformer_pytorch import Enformer
from torch import nn

from benchmarks.zoos.libraries import Builder


def _enformer() -> tuple[nn.Module, Any]:
    model = Enformer.from_hparams(
        dim=48,
        depth=2,
        heads=2,
        target_length=4,
        num_downsamples=3,
        dim_divisible_by=8,
        attn_dim_key=8,
        output_heads={"human": 10},
    )
    return model, nn.functional.one_hot(torch.randint(0, 4, (2, 64)), 4).float()


MODELS: dict[str, Builder] = {"enformer": _enformer}
