"""Structured Bayesian pruning (Neklyudov, Molchanov, Ashukha and Vetrov, NIPS 2017, section 4).

"Structured Bayesian Pruning via Log-Normal Multiplicative Noise", arXiv 1705.07283. With the bounds
a and 0 of log theta, ``alpha = (a - mu) / sigma``, ``beta = -mu / sigma``, ``Z = Phi(beta) -
Phi(alpha)`` and phi the normal density:

    KL          log(-a) - log(2 pi e sigma²) / 2 - log Z - (alpha phi(alpha) - beta phi(beta)) / 2Z
    E[thetaⁿ]   exp(n mu + n² sigma² / 2) (Phi(beta - n sigma) - Phi(alpha - n sigma)) / Z

Their numbers in the paper are left out: its text was not at hand to check them.
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

# Bounds of log(sigma). The authors' code has -20 and 5; below -10 a float32 draw is 1 in any case.
_LOG_SIGMA = (-10.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class SBP(SwitchMethod):
    """Noise on each channel: truncated log-normal posterior, truncated log-uniform prior.

    ``log theta`` lies in [``low``, 0]: q is N(mu, sigma²) cut off there, p uniform. A channel
    matters by its signal-to-noise ratio ``E[theta] / sd[theta]``; the paper removes those below 1.

    As in the paper, the weights have no posterior of their own. Unlike there they are frozen by
    default. There is one draw for each example where the group's values begin with the batch; the
    authors' code draws one for the whole batch.

    Attributes:
        low: the lower bound a (the paper's -20); the upper bound b is 0.
        sigma: starting sigma, for mu = 0. The authors start at exp(-5), for long training; 0.2, a
            mean of 0.86, leaves less of the way to go.
        lr: Adam's step for mu and log(sigma).
    """

    name: ClassVar[str] = "sbp"
    low: float = -20.0
    sigma: float = 0.2
    lr: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, sigma=self.sigma, lr=self.lr)
        if not (self.low < 0 and math.isfinite(self.low)):
            raise UsageError(f"low of sbp must be negative and finite, got {self.low}")
        if not _LOG_SIGMA[0] <= math.log(self.sigma) <= _LOG_SIGMA[1]:
            raise UsageError(f"sigma of sbp must be between 5e-5 and 148, got {self.sigma}")

    @property
    def step(self) -> float:
        """Adam's step for ``mu`` and ``log_sigma``."""
        return self.lr

    def switch(self, group: SwitchGroup) -> SBPSwitch:
        """One draw for each example where the group's values begin with the batch."""
        return SBPSwitch(group.size, self, per_example=group.batched)


class SBPSwitch(SignalToNoise):
    """``theta = exp(x)``, x from N(mu, sigma²) truncated to [low, 0].

    mu is kept within [low, 0] (the authors' code allows up to 5): above 0 it does the same as a
    larger sigma, and the densities at the bounds would no longer be representable.
    """

    def __init__(self, size: int, config: SBP | None = None, *, per_example: bool = False) -> None:
        super().__init__(size, per_example=per_example)
        self.config = config or SBP()
        self.mu = nn.Parameter(torch.zeros(size))
        self.log_sigma = nn.Parameter(torch.full((size,), math.log(self.config.sigma)))

    def advance(self, share: float) -> None:
        """Put parameters that a step took out of bounds back, where they have a gradient again."""
        del share
        with torch.no_grad():
            self.mu.clamp_(self.config.low, 0.0)
            self.log_sigma.clamp_(*_LOG_SIGMA)

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """By the inverse CDF: ``x = mu + sigma Phi⁻¹(Phi(alpha) + u Z)``, u uniform."""
        mu, sigma, alpha, beta = self._terms()
        shape = (self.size,) if examples is None else (examples, self.size)
        lower = torch.special.ndtr(alpha)
        cdf = lower + torch.rand(shape, device=mu.device) * (torch.special.ndtr(beta) - lower)
        # At 0 and 1 the inverse is infinite.
        cdf = cdf.clamp(1e-30, 1 - torch.finfo(cdf.dtype).eps)
        logarithm: torch.Tensor = mu + sigma * torch.special.ndtri(cdf)
        return logarithm.clamp(self.config.low, 0.0).exp()

    def mean(self) -> torch.Tensor:
        """E[theta], (D,)."""
        return self._log_moment(1, *self._terms()).exp()

    def uncertainty(self) -> torch.Tensor:
        """Standard deviation of theta, (D,), no gradient."""
        return self._exact_moments()[1]

    def importance(self) -> torch.Tensor:
        """The signal-to-noise ratio ``E[theta] / sd[theta]``, (D,), no gradient."""
        mean, deviation = self._exact_moments()
        return mean / deviation

    def quantile(self, level: float) -> torch.Tensor:
        """The theta below which ``level`` of the probability lies, float64 (D,), no gradient."""
        mu, sigma, alpha, beta = (term.detach().cpu().double() for term in self._terms())
        lower = torch.special.ndtr(alpha)
        cdf = lower + level * (torch.special.ndtr(beta) - lower)
        theta: torch.Tensor = (mu + sigma * torch.special.ndtri(cdf)).clamp(self.config.low, 0.0)
        return theta.exp()

    def below(self, share: float) -> torch.Tensor:
        """P(theta < share), float64 (D,): ``(Phi((log(share) - mu)/sigma) - Phi(alpha)) / Z``."""
        mu, sigma, alpha, beta = (term.detach().cpu().double() for term in self._terms())
        at = (max(math.log(share), self.config.low) - mu) / sigma
        lower = torch.special.ndtr(alpha)
        below: torch.Tensor = (torch.special.ndtr(at) - lower) / (torch.special.ndtr(beta) - lower)
        return below

    def posterior(self) -> torch.Tensor:
        """mu and sigma, (2, D), no gradient."""
        mu, sigma, _, _ = self._terms()
        return torch.stack([mu, sigma]).detach()

    def penalty(self) -> torch.Tensor:
        """KL(q || p) in nats, summed over the channels; closed form of section 4."""
        _, sigma, alpha, beta = self._terms()
        mass: torch.Tensor = torch.special.ndtr(beta) - torch.special.ndtr(alpha)
        edges = (alpha * _density(alpha) - beta * _density(beta)) / (2 * mass)
        constant = math.log(-self.config.low) - 0.5 * math.log(2 * math.pi * math.e)
        return (constant - sigma.log() - mass.log() - edges).sum()

    def _terms(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """mu, sigma, and the standardised bounds alpha <= 0 and beta >= 0."""
        mu = self.mu.clamp(self.config.low, 0.0)
        sigma = self.log_sigma.clamp(*_LOG_SIGMA).exp()
        return mu, sigma, (self.config.low - mu) / sigma, -mu / sigma

    def _exact_moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation in double precision: their ratio cancels where sigma is small."""
        terms = [term.detach().cpu().double() for term in self._terms()]
        first, second = (self._log_moment(order, *terms).exp() for order in (1, 2))
        variance = (second - first.square()).clamp_min(1e-14)
        return first.to(self.mu), variance.sqrt().to(self.mu)

    @staticmethod
    def _log_moment(order: int, *terms: torch.Tensor) -> torch.Tensor:
        """log E[thetaⁿ] = n mu + n² sigma²/2 + log (Phi(beta - n sigma) - Phi(alpha - n sigma))/Z.

        In logarithms nothing overflows; the paper writes it with erfcx, of which log_ndtr is made.
        """
        mu, sigma, alpha, beta = terms
        log_mass = _log_difference(beta, alpha)
        shifted = _log_difference(beta - order * sigma, alpha - order * sigma)
        return order * mu + (order * sigma).square() / 2 + shifted - log_mass


def _density(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def _log_difference(upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """log(Phi(upper) - Phi(lower)), upper > lower."""
    top: torch.Tensor = torch.special.log_ndtr(upper)
    bottom: torch.Tensor = torch.special.log_ndtr(lower)
    return top + torch.log1p(-torch.exp(bottom - top))
