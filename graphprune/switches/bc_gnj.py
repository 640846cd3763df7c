"""Bayesian compression with the group normal-Jeffreys prior (Louizos, Ullrich and Welling 2017).

"Bayesian Compression for Deep Learning", section 4.1; arXiv 1705.08665.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive
from graphprune.switches.signal import SignalToNoise, normal_within

# Of Molchanov, Ashukha and Vetrov, "Variational Dropout Sparsifies Deep Neural Networks", eq. 14.
_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695


@dataclass(frozen=True, kw_only=True)
class GroupNormalJeffreys(SwitchMethod):
    """Posterior z ~ N(mu, mu² alpha) for each channel, prior ``p(z) ∝ 1 / |z|``.

    The KL depends on the dropout rate alpha alone. A channel matters by its signal-to-noise ratio
    ``1 / sqrt(alpha)``; the paper removes those whose log alpha is above a threshold t, that is
    those below ``exp(-t / 2)``, with t chosen by looking at the histogram.

    In the paper the weights too have posteriors, N(z mu_w, z² sigma_w²) given z (eq. 6), and a KL
    of their own (eq. 8). Here they are frozen by default, trained as point estimates otherwise.
    A normal z may be negative, which would wake up a channel that its nonlinearity silences and
    make it count as important. Where the paper's weights could make up for a sign, frozen ones
    cannot: the scale is ``|z|`` here. The KL above bounds that of ``|z|``, which forgets the sign.

    Attributes:
        alpha: starting dropout rate, of mu = 1. The authors' code starts at exp(-9) and trains from
            scratch; 0.1 is noise of 32 %, which a trained network bears and can learn from.
        lr: Adam's step for mu and log alpha.
    """

    name: ClassVar[str] = "bc-gnj"
    alpha: float = 0.1
    lr: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, alpha=self.alpha, lr=self.lr)

    @property
    def step(self) -> float:
        """Adam's step for ``mu`` and ``log_alpha``."""
        return self.lr

    def switch(self, group: SwitchGroup) -> GroupNormalJeffreysSwitch:
        """One draw for each example where the group's values begin with the batch."""
        return GroupNormalJeffreysSwitch(group.size, self, per_example=group.batched)


class GroupNormalJeffreysSwitch(SignalToNoise):
    """Scales by ``|z|``, ``z = mu (1 + sqrt(alpha) epsilon)``, epsilon standard normal (eq. 6).

    mu and log alpha are the parameters. The authors' code has the variance in place of alpha, which
    is less noisy over long training; but alpha then jumps whenever mu comes near 0, and with it the
    importance. With alpha the KL leaves mu alone.
    """

    def __init__(
        self, size: int, config: GroupNormalJeffreys | None = None, *, per_example: bool = False
    ) -> None:
        super().__init__(size, per_example=per_example)
        self.config = config or GroupNormalJeffreys()
        self.mu = nn.Parameter(torch.ones(size))
        self.log_alpha = nn.Parameter(torch.full((size,), math.log(self.config.alpha)))

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """Draws of ``|z|``, with noise in proportion to mu."""
        shape = (self.size,) if examples is None else (examples, self.size)
        noise = torch.randn(shape, device=self.mu.device)
        return (self.mu * (1 + (self.log_alpha / 2).exp() * noise)).abs()

    def mean(self) -> torch.Tensor:
        """E|z| of the folded normal, (D,)."""
        alpha = self.log_alpha.exp()
        noise = (2 * alpha / math.pi).sqrt() * (-0.5 / alpha).exp()
        return self.mu.abs() * (noise + torch.erf((2 * alpha).rsqrt()))

    def uncertainty(self) -> torch.Tensor:
        """Standard deviation of ``|z|``, (D,), no gradient."""
        variance = self.mu.square() * (1 + self.log_alpha.exp()) - self.mean().square()
        return variance.clamp_min(0.0).sqrt().detach()

    def importance(self) -> torch.Tensor:
        """``1 / sqrt(alpha)``, (D,), no gradient."""
        return (-self.log_alpha.detach() / 2).exp()

    def below(self, share: float) -> torch.Tensor:
        """P(|z| < share), z normal; float64 (D,).

        Where a channel is of no use alpha grows and mu stays, so that this is seldom near 1.
        """
        return normal_within(share, self.mu, self.mu.abs() * (self.log_alpha / 2).exp())

    def posterior(self) -> torch.Tensor:
        """mu and alpha, (2, D), no gradient."""
        return torch.stack([self.mu, self.log_alpha.exp()]).detach()

    def penalty(self) -> torch.Tensor:
        """KL(q || p) in nats, up to the constant that makes it 0 for alpha to infinity.

        The approximation of eq. 14 of Molchanov et al., which Louizos et al. take over; it is
        within 0.01 nats of the integral.
        """
        noise = nn.functional.softplus(-self.log_alpha) / 2  # log(1 + 1/alpha) / 2
        return (_K1 * torch.sigmoid(-(_K2 + _K3 * self.log_alpha)) + noise).sum()
