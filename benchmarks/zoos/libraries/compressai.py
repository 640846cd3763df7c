"""compressai: learned compression of images, small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from compressai.models import (
    FactorizedPrior,
    FactorizedPriorReLU,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from torch import nn

from benchmarks.zoos.libraries import Builder


def _codec(cls: Callable[..., nn.Module], **sizes: Any) -> Builder:
    # far from 0, for random weights would have all codes rounded to 0
    return lambda: (cls(**sizes), 3000 * torch.rand(1, 3, 64, 64))


MODELS: dict[str, Builder] = {
    "factorized": _codec(FactorizedPrior, N=16, M=24),
    "factorized_relu": _codec(FactorizedPriorReLU, N=16, M=24),
    "joint_autoregressive": _codec(JointAutoregressiveHierarchicalPriors, N=16, M=24),
    "mean_scale_hyperprior": _codec(MeanScaleHyperprior, N=16, M=24),
    "scale_hyperprior": _codec(ScaleHyperprior, N=16, M=24),
}
