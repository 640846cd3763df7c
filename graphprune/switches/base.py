"""What every importance switch offers to the graph it scales and to the loop that learns it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import nn


class Switch(nn.Module, ABC):
    """A learned scale for the ``size`` channels of one group.

    In training mode ``forward`` returns what :meth:`sample` gives, in evaluation mode the mean.
    ``examples`` is set by the learning loop to the batch size when ``per_example`` is true.

    Attributes:
        size: number of channels D.
        per_example: whether ``forward`` returns one scale per example of the batch.
        examples: batch size of the coming forward pass, None for one scale for the whole batch.
        mirrored: whether the coming draw is the mirror image of the last one.
        closed: whether ``forward`` gives zeros, to measure what all channels are worth together.
        importance_range: least and greatest importance that there can be.
    """

    importance_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    def __init__(self, size: int, *, per_example: bool = False) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"a switch needs at least one channel, got {size}")
        self.size = size
        self.per_example = per_example
        self.examples: int | None = None
        self.mirrored = False
        self.closed = False

    def forward(self) -> torch.Tensor:
        """The scale: float of shape (D,), or (B, D) when ``examples`` is B."""
        if self.closed:
            return torch.zeros_like(self.mean())
        if self.training:
            return self.sample(self.examples)
        return self.mean()

    @property
    def can_close(self) -> bool:
        """Whether all channels' scales can come near zero at once, as those of shares cannot."""
        return True

    @property
    def is_budget(self) -> bool:
        """Whether the penalty is nothing once a budget is met, so that in the end it must hold."""
        return False

    @property
    def is_random(self) -> bool:
        """Whether two draws can differ."""
        return True

    @abstractmethod
    def sample(self, examples: int | None = None) -> torch.Tensor:
        """A differentiable draw of the scale: (D,), or (``examples``, D) of independent draws."""

    @abstractmethod
    def mean(self) -> torch.Tensor:
        """The expected scale, (D,), differentiable."""

    @abstractmethod
    def penalty(self) -> torch.Tensor:
        """Scalar added to the loss, times a weight (for a variational switch: the KL, in nats)."""

    def advance(self, share: float) -> None:
        """Called before each step with the share of the steps done, 0 to 1, for schedules."""

    def mirrored_gradient(self, difference: torch.Tensor) -> None:
        """Add the antithetic estimate to the gradients (methods with ``antithetic`` only).

        ``forward`` gives a draw and, after :attr:`mirrored` is set, the draw that mirrors it.

        Args:
            difference: loss of the mirrored draw less that of the first, scalar.
        """
        raise NotImplementedError(f"{type(self).__name__} has no mirrored draws")

    @abstractmethod
    def uncertainty(self) -> torch.Tensor:
        """Standard deviation of the scale under what was learned, (D,), no gradient."""

    def importance(self) -> torch.Tensor:
        """How much each channel matters, (D,), no gradient; larger means more important."""
        return self.mean().detach()

    def interval(self, level: float) -> torch.Tensor | None:
        """Credible interval of the importance, (2, D), no gradient: least and greatest value.

        None where the importance is no random quantity, such as a probability or a ratio.

        Args:
            level: probability within, in (0, 1); as much is left out below as above.
        """
        del level
        return None

    def below(self, share: float) -> torch.Tensor | None:
        """Probability that each channel's scale is small: less than ``share`` in size.

        The unit is 1, the scale at which the network was trained; for shares of a whole it is the
        equal share. The probability is that of the learned distribution. None where there is none,
        as for a point estimate, or where nothing was learned of its spread.

        Args:
            share: in (0, 1].

        Returns:
            float64 (D,) on the CPU, no gradient.
        """
        del share
        return None

    def posterior(self) -> torch.Tensor:
        """The learned parameters in readable form, (D,) or (..., D), no gradient."""
        return self.mean().detach()

    @classmethod
    def joint_penalty(cls, switches: Sequence[Switch]) -> torch.Tensor:
        """Sum of the penalties of several switches of this class; override it to batch the work."""
        return torch.stack([switch.penalty() for switch in switches]).sum()


def total_penalty(switches: Iterable[nn.Module]) -> torch.Tensor:
    """Sum of the penalties of all switches, each class batched in its own way (scalar)."""
    by_class: dict[type[Switch], list[Switch]] = {}
    for switch in switches:
        if not isinstance(switch, Switch):
            raise TypeError(f"{type(switch).__name__} is no graphprune.switches.base.Switch")
        by_class.setdefault(type(switch), []).append(switch)
    if not by_class:
        return torch.zeros(())
    return torch.stack([cls.joint_penalty(members) for cls, members in by_class.items()]).sum()
