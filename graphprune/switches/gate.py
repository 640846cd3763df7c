"""Gates: switches that are zero with a learned probability."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch

from graphprune.errors import UsageError
from graphprune.switches.base import Switch


class Gate(Switch):
    """A switch whose scale is exactly 0 with positive probability, independently by channel.

    Its penalty is the expected L0 norm of the scale: ``strength`` times the expected number of
    open channels.

    Attributes:
        strength: factor of the penalty, see :meth:`penalty`.
    """

    importance_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(self, size: int, strength: float, *, per_example: bool = False) -> None:
        super().__init__(size, per_example=per_example)
        self.strength = strength

    @abstractmethod
    def open_probability(self) -> torch.Tensor:
        """Probability that each channel's scale is not zero, (D,), differentiable."""

    def penalty(self) -> torch.Tensor:
        """``strength`` times the expected number of open channels, scalar."""
        return self.strength * self.open_probability().sum()

    def below(self, share: float) -> torch.Tensor:
        """P(z = 0), float64 (D,): for gates of 0 and 1 whatever the share."""
        del share
        return 1 - self.open_probability().detach().cpu().double()

    def importance(self) -> torch.Tensor:
        """The probability that each channel is open, (D,)."""
        return self.open_probability().detach()


def log_odds(probability: float, method: str, option: str) -> float:
    """``log(p / (1 - p))``.

    Raises:
        UsageError: ``p`` is not strictly between 0 and 1; names the method and its option.
    """
    if not 0 < probability < 1:
        raise UsageError(f"{option} of {method} must be between 0 and 1, got {probability}")
    return math.log(probability) - math.log1p(-probability)
