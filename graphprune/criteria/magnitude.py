"""Magnitude: a channel matters as much as the norm of the weights that make and read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from graphprune.channels import ChannelGroup
from graphprune.criteria.base import Evidence, weights_by_channel
from graphprune.groups import Analysis


@dataclass(frozen=True)
class L2:
    """Group L2 norm: root of the sum of squares over all coupled slices of a channel.

    Han, Mao & Dally, "Deep compression" (2015), carried over to coupled groups of channels; each
    tensor is first scaled to mean square 1, so that a large layer does not drown a small one.
    """

    name: ClassVar[str] = "l2"
    power: ClassVar[float] = 2.0

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float64, shape (D,)."""
        analysis = evidence.analysis
        return {group.name: self._group(analysis, group) for group in analysis.groups}

    def _group(self, analysis: Analysis, group: ChannelGroup) -> torch.Tensor:
        total = torch.zeros(group.size, dtype=torch.float64)
        for values, channels in weights_by_channel(analysis, group):
            size = self._summed(values, [d for d, n in enumerate(channels.shape) if n == 1])
            mean = size.sum() / max(int((channels >= 0).expand(size.shape).sum()), 1)
            size = (size / mean.clamp(min=torch.finfo(torch.float64).tiny)).expand(
                torch.broadcast_shapes(size.shape, channels.shape)
            )
            flat = channels.expand(size.shape).reshape(-1)
            inside = flat >= 0
            total.index_add_(0, flat[inside], size.reshape(-1)[inside])
        return total.pow(1 / self.power)

    def _summed(self, values: torch.Tensor, dims: list[int]) -> torch.Tensor:
        """Sum of ``|values| ** power`` along ``dims``, kept as size 1: float64, on the CPU."""
        dims = [dim for dim in dims if values.shape[dim] > 1]
        values = values.abs() if values.is_complex() else values
        result = self._powers(values.float(), dims)  # several times faster than float64
        if not bool(torch.isfinite(result).all()):
            result = self._powers(values.double(), dims)
        return result.double().cpu()

    def _powers(self, values: torch.Tensor, dims: list[int]) -> torch.Tensor:
        powers = values.square() if self.power == 2 else values.abs().pow(self.power)
        return powers.sum(dims, keepdim=True) if dims else powers


@dataclass(frozen=True)
class L1(L2):
    """Group L1 norm: sum of absolute values over all coupled slices of a channel.

    Li et al., "Pruning filters for efficient ConvNets" (2017), carried over to coupled groups.
    """

    name: ClassVar[str] = "l1"
    power: ClassVar[float] = 1.0
