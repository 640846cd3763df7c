"""nflows: normalising flows; each gives the log density of its input, small."""

from __future__ import annotations

from typing import Any

import torch
from nflows.distributions.normal import StandardNormal
from nflows.flows import Flow, MaskedAutoregressiveFlow, SimpleRealNVP
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    RandomPermutation,
)
from torch import nn

from benchmarks.zoos.libraries import Builder


class _Density(nn.Module):
    """A flow whose forward, which the library leaves out, is its log density."""

    def __init__(self, flow: nn.Module) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: torch.Tensor) -> Any:
        """Log density of each row of ``x``."""
        return self.flow.log_prob(x)  # type: ignore[operator]


def _flow(cls: Any, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        flow = cls(6, 32, num_layers=2, num_blocks_per_layer=2, **options)
        return _Density(flow), torch.randn(4, 6)

    return build


def _spline() -> tuple[nn.Module, Any]:
    def net(inputs: int, outputs: int) -> nn.Module:
        return ResidualNet(inputs, outputs, hidden_features=24, num_blocks=2)

    mask = torch.tensor([1, -1, 1, -1, 1, -1])
    steps = [
        RandomPermutation(6),
        PiecewiseRationalQuadraticCouplingTransform(mask, net, num_bins=4, tails="linear"),
        MaskedAffineAutoregressiveTransform(6, 24),
    ]
    return _Density(Flow(CompositeTransform(steps), StandardNormal([6]))), torch.randn(4, 6)


MODELS: dict[str, Builder] = {
    "maf": _flow(MaskedAutoregressiveFlow),
    "maf_norm": _flow(MaskedAutoregressiveFlow, batch_norm_between_layers=True),
    "real_nvp": _flow(SimpleRealNVP),
    "real_nvp_norm": _flow(SimpleRealNVP, batch_norm_within_layers=True),
    "spline": _spline,
}
