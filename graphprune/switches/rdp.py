"""Radial posteriors (Oh, Adamczewski and Park 2019), as far as they concern a switch.

"Radial and Directional Posteriors for Bayesian Neural Networks", arXiv 1902.02603. A radius has

    posterior  Weibull(k, l)         prior  r² | c ~ Gamma(1/2, rate c), c ~ Gamma(1/2, rate tau²)
    penalty    log(pi tau / 2) + log(1 + E[r²] / tau²) - H,    H the entropy of the Weibull

The penalty is derived in :meth:`RadialSwitch.penalty`. Equation numbers of the paper are left out:
its text was not at hand to check them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from graphprune.errors import UsageError
from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive
from graphprune.switches.signal import SignalToNoise

_EULER = 0.5772156649015329
# A shape below 0.5 has no use: the prior alone pulls it to about 1.
_LEAST_LOG_SHAPE = math.log(0.5)


@dataclass(frozen=True, kw_only=True)
class Radial(SwitchMethod):
    """A Weibull radius for each channel, with a half-Cauchy prior that pulls it towards 0.

    The paper writes a neuron's weight vector as radius times direction, with a posterior over each.
    Kept of it: the radius, relative to the weights' own norm (1 leaves them as they are), its
    Weibull posterior and its sparse half-Cauchy prior, decomposed into Gamma variables so that the
    penalty is closed; and that neurons go by their radius. Not kept: the von Mises-Fisher posterior
    over directions, which are the frozen weights' own (``weights=trained`` learns them as point
    estimates); separate radii for what a neuron reads and writes, since one switch scales both; and
    a scale shared by the whole layer.

    A channel matters by ``E[r] / sd[r]``, which grows with the shape k alone. That is a choice of
    ours: the mean may also grow where that helps the loss, and with frozen weights it told less on
    small trained networks.

    Attributes:
        tau: scale of the half-Cauchy prior: the root mean square to which a channel that makes no
            difference shrinks.
        shape: starting Weibull shape k; the deviation is about ``1.2 / k`` of the mean, which is 1.
        lr: Adam's step for the logarithms of shape and scale.
    """

    name: ClassVar[str] = "rdp"
    tau: float = 0.1
    shape: float = 8.0
    lr: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, tau=self.tau, lr=self.lr)
        if not 0.5 <= self.shape <= 1000:
            raise UsageError(f"shape of rdp must be between 0.5 and 1000, got {self.shape}")

    @property
    def step(self) -> float:
        """Adam's step for ``log_shape`` and ``log_scale``."""
        return self.lr

    @property
    def steps_fall(self) -> bool:
        """They do."""
        return True

    def switch(self, group: SwitchGroup) -> RadialSwitch:
        """One draw for each example where the group's values begin with the batch."""
        return RadialSwitch(group.size, self, per_example=group.batched)


class RadialSwitch(SignalToNoise):
    """r ~ Weibull(shape k, scale l), with E[r] = l Gamma(1 + 1/k)."""

    def __init__(
        self, size: int, config: Radial | None = None, *, per_example: bool = False
    ) -> None:
        super().__init__(size, per_example=per_example)
        self.config = config or Radial()
        start = -math.lgamma(1 + 1 / self.config.shape)  # E[r] = 1
        self.log_shape = nn.Parameter(torch.full((size,), math.log(self.config.shape)))
        self.log_scale = nn.Parameter(torch.full((size,), start))

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """By the inverse CDF: ``l e^(1/k)``, e exponential."""
        shape = (self.size,) if examples is None else (examples, self.size)
        draw = torch.empty(shape, device=self.log_scale.device).exponential_().clamp_min(1e-30)
        return (self.log_scale + draw.log() * self._inverse_shape()).exp()

    def mean(self) -> torch.Tensor:
        """E[r], (D,)."""
        return self._log_moment(1).exp()

    def uncertainty(self) -> torch.Tensor:
        """Standard deviation of r, (D,), no gradient."""
        relative = torch.expm1(self._log_moment(2) - 2 * self._log_moment(1))
        return (self.mean() * relative.clamp_min(1e-12).sqrt()).detach()

    def advance(self, share: float) -> None:
        """Put shapes that a step took below the least back, where they have a gradient again."""
        del share
        with torch.no_grad():
            self.log_shape.clamp_(min=_LEAST_LOG_SHAPE)

    def quantile(self, level: float) -> torch.Tensor:
        """The r below which ``level`` of the probability lies, float64 (D,), no gradient."""
        shape, scale = self.posterior().cpu().double()
        radius: torch.Tensor = scale * (-math.log1p(-level)) ** (1 / shape)
        return radius

    def below(self, share: float) -> torch.Tensor:
        """P(r < share) = ``1 - exp(-(share / l)^k)``, float64 (D,)."""
        shape, scale = self.posterior().cpu().double()
        return -torch.expm1(-((share / scale) ** shape))

    def posterior(self) -> torch.Tensor:
        """Shape k and scale l, (2, D), no gradient."""
        return torch.stack([1 / self._inverse_shape(), self.log_scale.exp()]).detach()

    def penalty(self) -> torch.Tensor:
        """Upper bound in nats of KL(q || half-Cauchy(tau)), summed over the channels.

        The half-Cauchy prior is ``r² | c ~ Gamma(1/2, rate c)``, ``c ~ Gamma(1/2, rate tau²)``.
        The best posterior of c is Gamma(1, rate tau² + E[r²]); with it, the KL of both is
        ``log(pi tau / 2) + log(1 + E[r²] / tau²)`` less the entropy of the Weibull.
        """
        inverse = self._inverse_shape()
        entropy = _EULER * (1 - inverse) + self.log_scale + inverse.log() + 1
        tau = self.config.tau
        ratio = self._log_moment(2) - 2 * math.log(tau)
        return (math.log(math.pi * tau / 2) + nn.functional.softplus(ratio) - entropy).sum()

    def _inverse_shape(self) -> torch.Tensor:
        return torch.exp(-self.log_shape.clamp_min(_LEAST_LOG_SHAPE))

    def _log_moment(self, order: int) -> torch.Tensor:
        """log E[rⁿ] = n log l + log Gamma(1 + n/k)."""
        return order * self.log_scale + torch.lgamma(1 + order * self._inverse_shape())
