"""Bernoulli gates with the ARM gradient (Li and Ji, "L0-ARM: Network Sparsification via Stochastic
Binary Optimization", ECML 2019; Yin and Zhou, "ARM: Augment-REINFORCE-Merge Gradient", ICLR 2019).

Gates z ~ Bernoulli(sigmoid(k phi)). With one uniform u for each gate, two losses give an unbiased
gradient without passing through the gates (theorem 1 of both papers, times k for the chain rule):

    d E[f] / d phi = k E_u[(f(1[u > sigmoid(-k phi)]) - f(1[u < sigmoid(k phi)])) (u - 1/2)]

Of (u - 1/2) its mean given the two gates is used: 0 where they are alike, else sigmoid(k |phi|) / 2
with the sign of their difference. That is unbiased too, and less noisy (Dong, Mnih and Tucker,
"DisARM: An Antithetic Gradient Estimator for Binary Latent Variables", NeurIPS 2020).

The penalty is the expected number of open gates, whose gradient is exact.

What the paper leaves open, or has otherwise:

- One gate a channel, drawn once for the batch: the loss of a batch is one number. All gates are
  drawn at once, so that one pair tells little of each: there are ``pairs`` of them a step.
- A channel counts as one in the penalty; the paper counts the parameters behind each gate.
- At test time the gate is its expectation ``sigmoid(k phi)``. The paper also sets gates below a
  threshold to zero; here the budget decides which channels go.
- All phi start at ``initial``; the paper adds noise of 0.01 / k.
- With trained weights these learn from the first of the two draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from graphprune.errors import UsageError
from graphprune.switches.gate import Gate, log_odds
from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive


@dataclass(frozen=True, kw_only=True)
class L0Arm(SwitchMethod):
    """Bernoulli gates under an L0 penalty, learned with the ARM gradient.

    Attributes:
        strength: factor of the expected number of open channels; N times the paper's lambda, as
            for :class:`graphprune.switches.l0.HardConcrete`.
        initial: probability of every gate to be open, at the start.
        slope: the paper's k; it makes gates decided for a small phi.
        pairs: of mirrored draws in a step, two forward passes each and none back.
        lr: Adam's step for ``slope * phi``, the log odds.
    """

    name: ClassVar[str] = "l0-arm"
    strength: float = 30.0
    initial: float = 0.9
    slope: float = 7.0
    pairs: int = 4
    lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.name, strength=self.strength, slope=self.slope, lr=self.lr)
        log_odds(self.initial, self.name, "initial")
        if self.pairs < 1:
            raise UsageError(f"pairs of {self.name} must be at least 1, got {self.pairs}")

    @property
    def antithetic(self) -> bool:
        """Mirrored draws."""
        return True

    @property
    def draws(self) -> int:
        """Pairs of them."""
        return self.pairs

    @property
    def step(self) -> float:
        """Adam's step for ``phi``."""
        return self.lr / self.slope

    def switch(self, group: SwitchGroup) -> ArmGate:
        """One draw for the whole batch."""
        return ArmGate(group.size, self)


class ArmGate(Gate):
    """D Bernoulli gates with probabilities ``sigmoid(slope * phi)``."""

    def __init__(self, size: int, config: L0Arm | None = None) -> None:
        config = config or L0Arm()
        super().__init__(size, config.strength)
        self.config = config
        start = log_odds(config.initial, config.name, "initial") / config.slope
        self.phi = nn.Parameter(torch.full((size,), start, dtype=torch.float32))
        self._uniform = torch.full((size,), 0.5)

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """Gates of 0 and 1, no gradient; the mirror image of the last ones if ``mirrored``.

        The pair is one for the whole batch, so ``examples`` only repeats it.
        """
        if not self.mirrored:
            self._uniform = torch.rand_like(self.phi)
        drawn = self._pair()[int(self.mirrored)]
        return drawn if examples is None else drawn.expand(examples, self.size)

    def mirrored_gradient(self, difference: torch.Tensor) -> None:
        """Add ``k (f(first) - f(mirrored)) E[u - 1/2 | both]``; ``difference`` is the negative."""
        first, second = self._pair()
        surer = torch.sigmoid((self.config.slope * self.phi.detach()).abs())
        estimate = -difference * (first - second) * surer / 2 * self.config.slope
        estimate = estimate.to(self.phi.dtype)
        self.phi.grad = estimate if self.phi.grad is None else self.phi.grad + estimate

    def _pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The last draw and its mirror image, (D,) of 0 and 1 each."""
        probability = self.open_probability().detach()
        drawn = self._uniform > 1 - probability, self._uniform < probability
        return drawn[0].to(probability.dtype), drawn[1].to(probability.dtype)

    def mean(self) -> torch.Tensor:
        """The expected gate, (D,)."""
        return self.open_probability()

    def open_probability(self) -> torch.Tensor:
        """``sigmoid(slope * phi)``, (D,)."""
        return torch.sigmoid(self.config.slope * self.phi)

    def uncertainty(self) -> torch.Tensor:
        """Standard deviation of the gate, ``sqrt(p (1 - p))``, (D,)."""
        probability = self.open_probability().detach()
        return (probability * (1 - probability)).sqrt()

    def posterior(self) -> torch.Tensor:
        """The log odds ``slope * phi``, (D,), no gradient."""
        return self.config.slope * self.phi.detach()
