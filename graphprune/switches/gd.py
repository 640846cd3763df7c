"""Generalized dropout (Srinivas and Babu 2016, arXiv 1611.06791): dropout with learned rates.

With gates z and keep probabilities theta for each channel, minimised over theta is

    E[loss(z)] - sum over channels of log Beta(theta; alpha, beta),    z ~ Bernoulli(theta)

Its number in the paper is left out: the paper's text was not at hand to check it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from graphprune.errors import UsageError
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive

_SMALLEST = 1e-4
# Of a closed gate. At exactly 0 a relu behind the gate would let no gradient back to it.
_CLOSED = 1e-4


@dataclass(frozen=True, kw_only=True)
class GeneralizedDropout(SwitchMethod):
    """A Bernoulli gate for each channel, its keep probability theta with a Beta(alpha, beta) prior.

    theta is a point estimate, penalised by the prior's negative log density. The prior tells the
    members of the family apart: with alpha = beta = 1 the data alone decide (Dropout++); both below
    1 prefers theta near 0 or 1 (architecture learning, SAL); both large is plain dropout at
    ``alpha / (alpha + beta)``. A channel matters by theta.

    The gradient is the straight-through estimator: that of the gate's value is taken for that of
    theta. It is exact where the loss is linear in the gate, else biased. A closed gate is 1e-4, not
    0: gates stand in front of the nonlinearity, and relu has no gradient at 0.

    Choices of ours: theta is a sigmoid (no clipping at 0 and 1), there is one draw for each example
    as in dropout, and the default prior leans to removal. Two-sided priors hold channels of no use
    where they start, near 1, and with frozen weights nothing else moves them. The paper trains the
    weights along, from scratch; here they are frozen by default.

    Attributes:
        alpha: first parameter of the prior.
        beta: second parameter of the prior.
        keep: starting theta.
        lr: Adam's step for the logit of theta.
    """

    name: ClassVar[str] = "gd"
    alpha: float = 1.0
    beta: float = 2.0
    keep: float = 0.9
    lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, alpha=self.alpha, beta=self.beta, lr=self.lr)
        if not _SMALLEST < self.keep < 1 - _SMALLEST:
            raise UsageError(f"keep of gd must be above 0 and below 1, got {self.keep}")

    @property
    def step(self) -> float:
        """Adam's step for ``logit``."""
        return self.lr

    def switch(self, group: SwitchGroup) -> GeneralizedDropoutSwitch:
        """One draw for each example where the group's values begin with the batch."""
        return GeneralizedDropoutSwitch(group.size, self, per_example=group.batched)


class GeneralizedDropoutSwitch(Switch):
    """Gates that are 1 with probability theta = sigmoid(logit), else closed."""

    importance_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(
        self, size: int, config: GeneralizedDropout | None = None, *, per_example: bool = False
    ) -> None:
        super().__init__(size, per_example=per_example)
        self.config = config or GeneralizedDropout()
        start = math.log(self.config.keep / (1 - self.config.keep))
        self.logit = nn.Parameter(torch.full((size,), start))

    def theta(self) -> torch.Tensor:
        """Keep probabilities, (D,), differentiable; within 1e-4 of 0 and 1 at most."""
        return _SMALLEST + (1 - 2 * _SMALLEST) * torch.sigmoid(self.logit)

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """Gates, 1 or closed; their gradient goes to theta as it is."""
        theta = self.theta()
        theta = theta if examples is None else theta.expand(examples, self.size)
        gate = torch.bernoulli(theta.detach()).clamp_min(_CLOSED)
        return gate + theta - theta.detach()

    def mean(self) -> torch.Tensor:
        """theta, (D,)."""
        return self.theta()

    def uncertainty(self) -> torch.Tensor:
        """Standard deviation of the gate, (D,), no gradient."""
        theta = self.theta().detach()
        return (theta * (1 - theta)).sqrt()

    def below(self, share: float) -> torch.Tensor:
        """P(gate closed) = 1 - theta, float64 (D,), whatever the share."""
        del share
        return 1 - self.theta().detach().cpu().double()

    def penalty(self) -> torch.Tensor:
        """Negative log density of theta under the prior, in nats, summed over the channels."""
        theta = self.theta()
        alpha, beta = self.config.alpha, self.config.beta
        normaliser = math.lgamma(alpha) + math.lgamma(beta) - math.lgamma(alpha + beta)
        density = (alpha - 1) * theta.log() + (beta - 1) * torch.log1p(-theta) - normaliser
        return -density.sum()
