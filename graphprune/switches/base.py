"""What every importance switch offers to the graph it scales and to the loop that learns it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from torch import nn

from graphprune.plugin_calls import calling


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
        handed_over_by: name of the method that made the switch, once it has handed it over.
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
        self.handed_over_by: str | None = None

    def forward(self) -> torch.Tensor:
        """The scale: float of shape (D,), or (B, D) when ``examples`` is B."""
        if self.training and not self.closed:
            with self._calling(f"sample({self.examples})"):
                return self.sample(self.examples)
        with self._calling("mean()"):
            mean = self.mean()
        return torch.zeros_like(mean) if self.closed else mean

    def _calling(self, what: str) -> AbstractContextManager[None]:
        """Within, whatever someone else's switch raises becomes one line."""
        return calling(self, f"method {self.handed_over_by or type(self).__name__}", what)

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
    """Sum of the penalties of all switches, each class batched in its own way (scalar).

    Raises:
        UsageError: someone else's switches cannot tell it.
    """
    by_class: dict[type[Switch], list[Switch]] = {}
    for switch in switches:
        if not isinstance(switch, Switch):
            raise TypeError(f"{type(switch).__name__} is no graphprune.switches.base.Switch")
        by_class.setdefault(type(switch), []).append(switch)
    if not by_class:
        return torch.zeros(())
    return torch.stack([_joint_penalty(cls, members) for cls, members in by_class.items()]).sum()


def _joint_penalty(cls: type[Switch], members: list[Switch]) -> torch.Tensor:
    first = members[0]
    with first._calling("joint_penalty(switches)"):
        found: object = cls.joint_penalty(members)
        if isinstance(found, torch.Tensor) and found.ndim == 0:
            return found
        raise TypeError(
            f"a scalar tensor is expected, not {getattr(found, 'shape', type(found).__name__)}"
        )


def advance_all(switches: Iterable[Switch], share: float) -> None:
    """Tell every switch the share of the steps done, 0 to 1.

    Raises:
        UsageError: someone else's switch cannot bear it.
    """
    for switch in switches:
        with switch._calling("advance(share)"):
            switch.advance(share)


def mirror_all(switches: Iterable[Switch], difference: torch.Tensor) -> None:
    """Let every switch add its antithetic estimate to the gradients.

    Raises:
        UsageError: someone else's switch cannot.
    """
    for switch in switches:
        with switch._calling("mirrored_gradient(difference)"):
            switch.mirrored_gradient(difference)
