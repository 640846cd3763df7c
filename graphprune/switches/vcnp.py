"""Variational pruning of channels by their saliency (Zhao et al., CVPR 2019).

C. Zhao, B. Ni, J. Zhang, Q. Zhao, W. Zhang and Q. Tian, "Variational Convolutional Neural Network
Pruning", doi 10.1109/CVPR.2019.00289. A batch norm ``gamma * x + beta`` is written ``gamma * (x +
beta')``, the shift as scale times shift, so that gamma, the channel's saliency, takes the whole
channel with it when it is zero. Gamma has a Gaussian posterior and a sparse prior; weights and
posterior are learned together, and channels whose saliency is near zero in mean and in variance are
removed without training the rest anew.

No equation numbers are given: of the paper the abstract alone was at hand.
What the abstract leaves open is chosen here:

- The sparse prior is ``N(0, sigma_j^2)``, centred at zero and for each channel as wide as its own
  posterior, so that the KL is ``mu_j^2 / (2 sigma_j^2)``: half the squared ratio of signal to
  noise, nothing for a channel whose mean is zero. A public re-implementation of the paper has the
  same form. A normal prior of one width for all (``prior``) is not sparse: it pulls the needed
  channels most.
- Removal by mean and variance is :meth:`SaliencySwitch.below`, with which target ``auto`` cuts: the
  probability that the saliency is small is near 1 only where both are. A budget needs an order
  instead, and goes by the mean, which is what the cut network loses. The variance of a channel that
  nobody reads has no data to make it small: an order that asks for a small one (the root mean
  square of the saliency) keeps such channels, an order by ``|mu| / sigma`` those silenced by relu.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod, Weights, require_positive
from graphprune.switches.signal import normal_within


@dataclass(frozen=True, kw_only=True)
class VariationalSaliency(SwitchMethod):
    """Gaussian saliencies learned together with the weights, folded into them before the cut.

    A switch multiplies weight and bias of a norm alike, which is the paper's reparametrisation,
    and any other producer's output where no norm follows. The saliency is relative: a switch of 1
    is the trained network. A norm's own weight stays as it is while the other weights are trained,
    for the switch is its factor.

    Attributes:
        initial: standard deviation of every posterior at the start, in units of the trained
            network's scale.
        prior: standard deviation of the prior of all channels, in the same units; None: each
            channel's is its posterior's, the sparse prior.
        lr: Adam's step for means and log standard deviations.
        weights: as in the paper, trained together with the saliencies.
    """

    name: ClassVar[str] = "vcnp"
    initial: float = 0.1
    prior: float | None = None
    lr: float = 0.01
    weights: Weights = "trained"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, initial=self.initial, lr=self.lr)
        if self.prior is not None:
            require_positive(self.name, prior=self.prior)

    @property
    def step(self) -> float:
        """Adam's step for the switches' parameters."""
        return self.lr

    def switch(self, group: SwitchGroup) -> SaliencySwitch:
        """A switch whose draws are one for each example where the group's values allow it."""
        return SaliencySwitch(group.size, self, per_example=group.batched)


class SaliencySwitch(Switch):
    """Posterior ``q(s_j) = N(mu_j, sigma_j^2)``, independent over the D channels of a group."""

    def __init__(
        self, size: int, config: VariationalSaliency | None = None, *, per_example: bool = False
    ) -> None:
        super().__init__(size, per_example=per_example)
        self.config = config or VariationalSaliency()
        self.mu = nn.Parameter(torch.ones(size))
        self.log_sigma = nn.Parameter(torch.full((size,), math.log(self.config.initial)))

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """``mu + sigma * noise`` (pathwise gradient), (D,) or (``examples``, D)."""
        shape = (self.size,) if examples is None else (examples, self.size)
        noise = torch.randn(shape, dtype=self.mu.dtype, device=self.mu.device)
        return self.mu + self.log_sigma.exp() * noise

    def mean(self) -> torch.Tensor:
        """mu, (D,)."""
        return self.mu

    def penalty(self) -> torch.Tensor:
        """KL of the posterior from the prior, summed over the channels, in nats.

        ``mu^2 / (2 sigma^2)`` for each, sigma being the prior's too; of a prior of one width
        ``log(prior / sigma) + (sigma^2 + mu^2) / (2 prior^2) - 1/2``.
        """
        prior = self.config.prior
        if prior is None:
            return 0.5 * (self.mu * (-self.log_sigma).exp()).square().sum()
        divergence = math.log(prior) - self.log_sigma - 0.5
        return (divergence + ((2 * self.log_sigma).exp() + self.mu**2) / (2 * prior**2)).sum()

    def uncertainty(self) -> torch.Tensor:
        """sigma, (D,)."""
        return self.log_sigma.detach().exp()

    def importance(self) -> torch.Tensor:
        """|mu|, (D,): what is lost when the channel goes.

        It has no interval: sigma is the noise that the channel bears, not a doubt of its mean.
        """
        return self.mu.detach().abs()

    def below(self, share: float) -> torch.Tensor:
        """P(|s| < share), s normal; float64 (D,). Large where mean and variance are both small."""
        return normal_within(share, self.mu, self.uncertainty())

    def posterior(self) -> torch.Tensor:
        """Means and standard deviations, (2, D)."""
        return torch.stack([self.mu.detach(), self.uncertainty()])
