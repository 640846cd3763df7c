"""iTransformer: attention over the variables of series."""  # noqa: N999 - the name of the package

from __future__ import annotations

from typing import Any

import torch
from iTransformer import iTransformer, iTransformer2D, iTransformerFFT
from torch import nn

from benchmarks.zoos.libraries import Builder

SIZES: dict[str, Any] = {"num_variates": 6, "lookback_len": 24, "dim": 32, "depth": 2, "heads": 4}
SIZES |= {"dim_head": 8, "pred_length": (4, 8)}


def _forecaster(cls: type[nn.Module], **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return cls(**SIZES, **options), torch.randn(4, 24, 6)

    return build


MODELS: dict[str, Builder] = {
    "iTransformer": _forecaster(iTransformer),
    "revin": _forecaster(iTransformer, use_reversible_instance_norm=True),
    "one_stream": _forecaster(iTransformer, num_residual_streams=1, num_tokens_per_variate=2),
    "two_axes": _forecaster(iTransformer2D, num_time_tokens=4),
    "fft": _forecaster(iTransformerFFT),
}
