"""normflows: normalising flows; each gives the log density of its input, small."""

from __future__ import annotations

from typing import Any

import normflows as nf
import torch
from torch import nn

from benchmarks.zoos.libraries import Builder


class _Density(nn.Module):
    """A flow whose forward is its log density."""

    def __init__(self, flow: Any) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: torch.Tensor) -> Any:
        """Log density of each row of ``x``."""
        return self.flow.log_prob(x)


def _couplings() -> tuple[nn.Module, Any]:
    steps: list[Any] = []
    for _ in range(2):
        steps += [nf.flows.AffineCouplingBlock(nf.nets.MLP([2, 24, 24, 4]))]
        steps += [nf.flows.Permute(4, mode="swap")]
    return _Density(nf.NormalizingFlow(nf.distributions.DiagGaussian(4), steps)), torch.randn(5, 4)


def _spline(cls: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        steps = [cls(4, 2, 24), nf.flows.LULinearPermute(4)]
        flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(4), steps)
        return _Density(flow), torch.randn(5, 4)

    return build


def _residual() -> tuple[nn.Module, Any]:
    net = nf.nets.LipschitzMLP([4, 16, 16, 4], init_zeros=False, lipschitz_const=0.9)
    return net, torch.randn(5, 4)


MODELS: dict[str, Builder] = {
    "couplings": _couplings,
    "lipschitz": _residual,
    "spline_autoregressive": _spline(nf.flows.AutoregressiveRationalQuadraticSpline),
}
