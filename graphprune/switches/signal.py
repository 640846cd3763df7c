"""Switches whose channels are ranked by signal to noise."""

from __future__ import annotations

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

    def importance(self) -> torch.Tensor:
        """The signal-to-noise ratio, (D,), no gradient."""
        return self.mean().detach().abs() / self.uncertainty()

    def interval(self, level: float) -> torch.Tensor:
        """Interval of ``|z| / sd[z]``, (2, D), for z about normal: its deviation is 1 there."""
        centre = self.importance()
        reach = torch.special.ndtri(torch.tensor((1 + level) / 2)).to(centre)
        return torch.stack([(centre - reach).clamp_min(0.0), centre + reach])
