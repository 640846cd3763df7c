"""What a plug-in of group ``graphprune.switches`` is: one kind of switch, and how it is learned."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from graphprune.analysis.groups import Analysis
from graphprune.errors import UsageError
from graphprune.switches.base import Switch

Weights = Literal["frozen", "trained"]


@dataclass(frozen=True)
class SwitchGroup:
    """The channel group that a switch is made for.

    Attributes:
        name: of the group.
        size: number of channels D.
        batched: whether every value that is scaled begins with the batch, so that the switch may
            give one scale for each example.
    """

    name: str
    size: int
    batched: bool


@dataclass(frozen=True, kw_only=True)
class SwitchMethod(ABC):
    """One kind of switch. Its fields are what users may set, as ``name{field=value}`` too.

    Attributes:
        name: under which it is registered.
        weights: "frozen" learns the switches alone; "trained" the weights along with them.
        weights_lr: Adam's step for the weights.
    """

    name: ClassVar[str]
    weights: Weights = "frozen"
    weights_lr: float = 1e-3

    def __post_init__(self) -> None:
        if self.weights not in ("frozen", "trained"):
            raise UsageError(f"unknown weights '{self.weights}'; use frozen or trained")
        if not isinstance(getattr(self, "name", None), str):
            raise UsageError(f"{type(self).__name__} has no name; give its class a text as `name`")
        require_positive(self.name, weights_lr=self.weights_lr)

    @property
    @abstractmethod
    def step(self) -> float:
        """Adam's step for the switches' parameters."""

    @property
    def decay(self) -> float:
        """Factor of half the sum of squares of trained weights, beside the switches' penalty.

        It is weighed as the penalty is. Not used where the weights are frozen.
        """
        return 0.0

    @property
    def antithetic(self) -> bool:
        """Whether the switches' gradient is estimated from two mirrored draws.

        See :meth:`graphprune.switches.base.Switch.mirrored_gradient`; else by backpropagation.
        """
        return False

    @property
    def draws(self) -> int:
        """Draws a step for each that is asked for (:attr:`LearnConfig.samples`).

        More than one where a single draw tells little, as without a gradient of its own.
        """
        return 1

    @property
    def steps_fall(self) -> bool:
        """Whether the switches' steps fall to 0 over the second half.

        For draws so wide that what is learned keeps swinging at a constant step.
        """
        return False

    @property
    def in_halves(self) -> bool:
        """Whether channels are ranked by the mean of what two halves of the data say.

        If nobody chooses; others learn from all data, and from the halves beside it. For what is
        learned without its spread; see :mod:`graphprune.importance.halves`.
        """
        return False

    @abstractmethod
    def switch(self, group: SwitchGroup) -> Switch:
        """A fresh switch for one group."""

    def prepared(self, analysis: Analysis) -> SwitchMethod:
        """The method with what it must know of the model, such as what each channel costs."""
        del analysis
        return self

    def with_spread(self) -> SwitchMethod:
        """The method as it learns the spread of its scales, where that is open."""
        return self

    def settled(self, *, teachable: bool) -> SwitchMethod:
        """The method as it will be used; ``teachable`` says whether there are labels or a loss.

        Raises:
            UsageError: it could not learn.
        """
        del teachable
        return self


def require_positive(name: str, **values: float) -> None:
    """Refuse options that are not positive and finite.

    Raises:
        UsageError: naming the method and the option.
    """
    for option, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"{option} of {name} must be positive and finite, got {value}")
