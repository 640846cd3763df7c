"""Bayesian compression with the group horseshoe prior (Louizos, Ullrich and Welling 2017).

"Bayesian Compression for Deep Learning", section 4.2; arXiv 1705.08665. With four log-normal
factors

    z_j = sqrt(s_a s_b z̃_a,j z̃_b,j)
    KL(LN(m, v) || Gamma(1/2, scale c)) = exp(m + v/2)/c - m/2 + log(c)/2 + log Gamma(1/2)
                                          - log(2 pi e v)/2

and the same with -m for the inverse Gamma. Equation numbers are left out: the paper's text was not
at hand to check them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive
from graphprune.switches.signal import SignalToNoise


@dataclass(frozen=True, kw_only=True)
class GroupHorseshoe(SwitchMethod):
    """Scale ``z_j = s z̃_j``, s for the whole group and z̃_j for the channel, all half-Cauchy.

    A half-Cauchy variable is the root of a Gamma(1/2) times an inverse Gamma(1/2) variable, so that
    ``z_j = sqrt(s_a s_b z̃_a,j z̃_b,j)``. All four factors have log-normal posteriors, for which the
    KL is closed, and z_j itself is log-normal.

    A channel matters by ``E[z] / sd[z]``. That is a choice of ours: the paper removes those whose
    log z has the least mode, for a tiny ``tau`` takes what the data do not speak for towards 0.
    With frozen weights it returns to the prior instead, above channels that the data would have
    smaller, and by the mode channels that carry nothing do not come last.

    In the paper the weights too have posteriors given z. Here they are frozen by default, trained
    as point estimates otherwise.

    Attributes:
        tau: scale of the half-Cauchy prior of s. The paper takes a tiny one, whose pull the weights
            can make up for; with frozen weights the scales must stay near 1, so 1 is the choice.
        sigma: starting standard deviation of log z_j; the mean of z_j starts at 1.
        lr: Adam's step for the means and log-variances.
    """

    name: ClassVar[str] = "bc-ghs"
    tau: float = 1.0
    sigma: float = 0.3
    lr: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, tau=self.tau, sigma=self.sigma, lr=self.lr)

    @property
    def step(self) -> float:
        """Adam's step for all parameters."""
        return self.lr

    def switch(self, group: SwitchGroup) -> GroupHorseshoeSwitch:
        """One draw for each example where the group's values begin with the batch."""
        return GroupHorseshoeSwitch(group.size, self, per_example=group.batched)


class GroupHorseshoeSwitch(SignalToNoise):
    """Log-normal factors: row 0 of each parameter is the Gamma's, row 1 the inverse Gamma's.

    Attributes:
        shared_mean, shared_log_variance: of log s_a and log s_b, (2, 1).
        own_mean, own_log_variance: of log z̃_a and log z̃_b, (2, D).
    """

    def __init__(
        self, size: int, config: GroupHorseshoe | None = None, *, per_example: bool = False
    ) -> None:
        super().__init__(size, per_example=per_example)
        self.config = config or GroupHorseshoe()
        variance = self.config.sigma**2
        # The four factors' logarithms are halved and added: their means make E[z] 1.
        for name, columns in (("shared", 1), ("own", size)):
            mean = torch.full((2, columns), -variance / 4)
            log_variance = torch.full((2, columns), math.log(variance))
            setattr(self, f"{name}_mean", nn.Parameter(mean))
            setattr(self, f"{name}_log_variance", nn.Parameter(log_variance))

    shared_mean: nn.Parameter
    shared_log_variance: nn.Parameter
    own_mean: nn.Parameter
    own_log_variance: nn.Parameter

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """Each example has its own s, shared by its channels."""
        rows = () if examples is None else (examples,)
        total = torch.zeros((), device=self.own_mean.device)
        for mean, log_variance in self._factors():
            noise = torch.randn((*rows, *mean.shape), device=mean.device)
            total = total + (mean + (log_variance / 2).exp() * noise).sum(-2) / 2
        return total.exp()

    def log_moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of log z, (D,) each, differentiable."""
        means, variances = zip(
            *((m.sum(0) / 2, v.exp().sum(0) / 4) for m, v in self._factors()), strict=True
        )
        return means[0] + means[1], variances[0] + variances[1]

    def mean(self) -> torch.Tensor:
        """E[z], (D,)."""
        mean, variance = self.log_moments()
        return (mean + variance / 2).exp()

    def uncertainty(self) -> torch.Tensor:
        """Standard deviation of z, (D,), no gradient."""
        _, variance = self.log_moments()
        return (self.mean() * torch.expm1(variance).sqrt()).detach()

    def quantile(self, level: float) -> torch.Tensor:
        """The z below which ``level`` of the probability lies for s at its mean, float64 (D,).

        The scale s is the same for all channels of the group: it says nothing of their order.
        """
        mean = self.log_moments()[0].detach() + self.shared_log_variance.detach().exp().sum() / 8
        deviation = (self.own_log_variance.detach().exp().sum(0) / 4).sqrt()
        reach = torch.special.ndtri(torch.tensor(level, dtype=torch.float64)).item()
        found: torch.Tensor = (mean.cpu().double() + reach * deviation.cpu().double()).exp()
        return found

    def below(self, share: float) -> torch.Tensor:
        """P(z < share), z log-normal; float64 (D,).

        Where a channel is of no use z spreads about its start, so that this is seldom near 1.
        """
        mean, variance = (value.detach().cpu().double() for value in self.log_moments())
        below: torch.Tensor = torch.special.ndtr((math.log(share) - mean) / variance.sqrt())
        return below

    def posterior(self) -> torch.Tensor:
        """Mean and variance of log z, (2, D), no gradient."""
        return torch.stack(self.log_moments()).detach()

    def penalty(self) -> torch.Tensor:
        """KL(q || p) in nats of s_a, s_b and all z̃_a and z̃_b, closed form."""
        shared = _kl(self.shared_mean, self.shared_log_variance, self.config.tau)
        return shared + _kl(self.own_mean, self.own_log_variance, 1.0)

    def _factors(self) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        return (
            (self.shared_mean, self.shared_log_variance),
            (self.own_mean, self.own_log_variance),
        )


def _kl(mean: torch.Tensor, log_variance: torch.Tensor, tau: float) -> torch.Tensor:
    """KL of log-normals from Gamma(1/2, scale tau²), row 0, and inverse Gamma(1/2, 1), row 1.

    With the signs of the first row's logarithm turned, both are Gamma variables' logarithms:
    ``KL(LN(m, v) || Gamma(1/2, scale c)) = e^(m + v/2)/c - m/2 + log(c)/2 + log Gamma(1/2)
    - log(2 pi e v)/2``.
    """
    sign = torch.tensor([[1.0], [-1.0]], device=mean.device)
    log_scale = torch.tensor([[2 * math.log(tau)], [0.0]], device=mean.device)
    relative = sign * mean - log_scale
    pull = torch.exp(relative + log_variance.exp() / 2) - relative / 2
    entropy = (math.log(2 * math.pi * math.e) + log_variance) / 2
    return (pull + math.lgamma(0.5) - entropy).sum()
