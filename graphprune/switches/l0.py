"""Hard concrete gates (Louizos, Welling and Kingma, "Learning sparse neural networks through L0
regularization", ICLR 2018; equation numbers are of that paper).

A uniform u gives ``s = sigmoid((logit(u) + log_alpha) / beta)`` (eq. 10), stretched to
``s (zeta - gamma) + gamma`` and cut to [0, 1] (eq. 11). The expected number of gates that are not
zero (eq. 12) is the penalty, and eq. 13 the gate at test time.

What the paper leaves open, or has otherwise:

- It counts parameters, and weighs a gate that several share by how many they are. Here a channel
  counts as one; ``fdoo`` weighs channels by their multiplications instead.
- It starts ``log_alpha`` around the log odds of the dropout rate, with noise of 0.01. Here all
  start at ``initial``, without noise: channels of a trained network differ by themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn

from graphprune.errors import UsageError
from graphprune.switches.gate import Gate, log_odds
from graphprune.switches.method import SwitchGroup, SwitchMethod, require_positive

# Keeps the log odds of a uniform draw finite in float32.
_SMALLEST_DRAW = 1e-6
# E[z] and E[z^2] are integrals of smooth functions over [0, 1]: exact to float32 with these.
_NODES = 64


@dataclass(frozen=True, kw_only=True)
class HardConcrete(SwitchMethod):
    """Hard concrete gates under an L0 penalty: how they start, are drawn and are learned.

    Attributes:
        strength: factor of the expected number of open channels. The learning loop divides every
            penalty by the number N of examples, so this is N times the paper's lambda, which the
            paper itself gives in units of 1/N (MNIST: ``0.1 / N`` for each parameter, that is
            ``0.1`` times the parameters of a channel here).
        variant: "shared" draws one gate for the whole batch, as the paper does in its experiments;
            "per-example" one for each example.
        initial: ``sigmoid(log_alpha)`` at the start. Noise that is small enough for a trained
            network to go on working needs gates that are mostly open.
        beta: temperature.
        gamma: lower end of the stretched interval, below 0.
        zeta: upper end of the stretched interval, above 1.
        lr: Adam's step for ``log_alpha``.
    """

    name: ClassVar[str] = "l0"
    strength: float = 100.0
    variant: Literal["shared", "per-example"] = "per-example"
    initial: float = 0.9
    beta: float = 2 / 3
    gamma: float = -0.1
    zeta: float = 1.1
    lr: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in ("shared", "per-example"):
            raise UsageError(f"unknown l0 variant '{self.variant}'; use shared or per-example")
        require_positive(self.name, strength=self.strength, beta=self.beta, lr=self.lr)
        log_odds(self.initial, self.name, "initial")
        if not (-math.inf < self.gamma < 0 and 1 < self.zeta < math.inf):
            raise UsageError(
                "l0 needs gamma below 0 and zeta above 1, so that gates can close and open fully; "
                f"got {self.gamma} and {self.zeta}"
            )

    @property
    def step(self) -> float:
        """Adam's step for ``log_alpha``."""
        return self.lr

    def switch(self, group: SwitchGroup) -> HardConcreteGate:
        """Values without the batch in front take one draw for the whole batch."""
        return HardConcreteGate(group.size, self, batched=group.batched)


class HardConcreteGate(Gate):
    """D hard concrete gates with locations ``log_alpha``."""

    def __init__(
        self, size: int, config: HardConcrete | None = None, *, batched: bool = True
    ) -> None:
        config = config or HardConcrete()
        super().__init__(
            size, config.strength, per_example=batched and config.variant == "per-example"
        )
        self.config = config
        start = log_odds(config.initial, config.name, "initial")
        self.log_alpha = nn.Parameter(torch.full((size,), start, dtype=torch.float32))

    def sample(self, examples: int | None = None) -> torch.Tensor:
        """Gates in [0, 1] (eq. 10, 11), (D,) or (``examples``, D), reparametrised."""
        shape = (self.size,) if examples is None else (examples, self.size)
        noise = torch.rand(shape, device=self.log_alpha.device).logit(_SMALLEST_DRAW)
        return self._stretched((noise + self.log_alpha) / self.config.beta)

    def mean(self) -> torch.Tensor:
        """The gate at test time (eq. 13), (D,): no expectation, but 1 and 0 for sure channels."""
        return self._stretched(self.log_alpha)

    def open_probability(self) -> torch.Tensor:
        """``sigmoid(log_alpha - beta log(-gamma / zeta))`` (eq. 12), (D,)."""
        shift = self.config.beta * math.log(-self.config.gamma / self.config.zeta)
        return torch.sigmoid(self.log_alpha - shift)

    def below(self, share: float) -> torch.Tensor:
        """P(z < share), which eq. 10 and 11 give in closed form; float64 (D,)."""
        odds = math.log((share - self.config.gamma) / (self.config.zeta - share))
        return torch.sigmoid(self.config.beta * odds - self.log_alpha.detach().cpu().double())

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """E[z] and E[z^2], each float64, (D,), no gradient.

        They have no closed form. With P(z > t) from eq. 10 they are the integrals over [0, 1] of
        P(z > t) and 2 t P(z > t), by Gauss-Legendre quadrature.
        """
        at, weights = np.polynomial.legendre.leggauss(_NODES)
        log_alpha = self.log_alpha.detach().double()
        t = torch.from_numpy((at + 1) / 2).to(log_alpha.device)
        weight = torch.from_numpy(weights / 2).to(log_alpha.device)
        odds = torch.log((t - self.config.gamma) / (self.config.zeta - t))
        above = torch.sigmoid(log_alpha.unsqueeze(-1) - self.config.beta * odds)
        return above @ weight, above @ (2 * t * weight)

    def uncertainty(self) -> torch.Tensor:
        """Standard deviation of the gate, (D,), by quadrature."""
        first, second = self.moments()
        return (second - first.square()).clamp(min=0).sqrt().float()

    def posterior(self) -> torch.Tensor:
        """``log_alpha``, (D,), no gradient."""
        return self.log_alpha.detach()

    def _stretched(self, logits: torch.Tensor) -> torch.Tensor:
        gamma, zeta = self.config.gamma, self.config.zeta
        return (torch.sigmoid(logits) * (zeta - gamma) + gamma).clamp(0, 1)
