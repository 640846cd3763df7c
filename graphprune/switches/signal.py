"""Switches whose channels are ranked by signal to noise."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from graphprune.switches.base import Switch


def normal_within(bound: float, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """P(|z| < bound) of z from N(mean, deviation²), float64 of their shape, on the CPU."""
    mean, deviation = (values.detach().cpu().double() for values in (mean, deviation))
    upper = torch.special.ndtr((bound - mean) / deviation)
    within: torch.Tensor = upper - torch.special.ndtr((-bound - mean) / deviation)
    return within


class SignalToNoise(Switch):
    """A switch whose importance is ``|E[z]| / sd[z]`` of its scale z."""

    importance_range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def importance(self) -> torch.Tensor:
        """The signal-to-noise ratio, (D,), no gradient."""
        return self.mean().detach().abs() / self.uncertainty()

    def quantile(self, level: float) -> torch.Tensor | None:
        """The z below which ``level`` of the probability lies, (D,); None: z is normal."""
        del level
        return None

    def interval(self, level: float) -> torch.Tensor:
        """Interval of ``|z| / sd[z]``, (2, D), no gradient; of a normal z its deviation is 1."""
        tails = [self.quantile((1 + sign * level) / 2) for sign in (-1, 1)]
        found = [tail for tail in tails if tail is not None]
        if found:
            deviation = self.uncertainty().cpu().double()
            return torch.stack([tail / deviation for tail in found]).float()
        centre = self.importance()
        reach = torch.special.ndtri(torch.tensor((1 + level) / 2)).to(centre)
        return torch.stack([(centre - reach).clamp_min(0.0), centre + reach])
