"""How switches are learned: draws, steps, the penalty's weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from graphprune.errors import UsageError
from graphprune.numbers_given import check_counts
from graphprune.seeds import check_seed

MOST_PASSES = 50
"""Passes over the data at most, where their number is not given: few examples tell no more."""

SMALLEST_BATCH = 16
"""Below this many examples no batch is made smaller to gain steps."""


@dataclass(frozen=True)
class LearnConfig:
    """How switches of any kind are learned.

    Attributes:
        samples: draws per step of switches that are random (the paper's k), one forward pass each.
        mode: "joint" learns all groups at once; "sequential" one at a time in graph order, each
            with every other group's switch left out.
        kl_weight: factor of the penalty (of a variational switch the KL), which eq. 7 divides by
            the number of training examples N.
        limit_penalty: lower that factor where the penalty would close every channel alike, see
            :mod:`graphprune.importance.penalty_limit`.
        kl_anneal: share of the steps over which that factor grows from 0 to full.
        epochs: passes over the data (each group's own in sequential mode). None: one, and with
            frozen weights, where that is fewer steps than ``min_steps``, as many as reach them.
        min_steps: where ``epochs`` is None: steps in all, those of all groups together in
            sequential mode, but no more than :data:`MOST_PASSES` passes. A choice of ours: switches
            that move a few dozen steps from where they start rank little better than chance.
        max_steps: stop after so many steps (of each round in sequential mode).
        seed: of the draws; the caller's random state is left as it was.
        mixed_precision: bfloat16 autocast where there is a GPU.
        spread: what is learned of each scale's spread will be used too, as target ``auto`` does: a
            method that may learn with or without it learns it, one that knows none is refused.
        halves: learn two switches for each group, each from one half of the examples, in turn; the
            result is their mean, and their distance says how sure it is. None: where the method's
            own loss says nothing of that (:attr:`SwitchMethod.in_halves`). With ``spread`` the
            result is that of all examples at once. False: no halves at all, beside it neither.
        intervals: where the result is learned from all examples, learn from both halves too, to
            know how sure it is; as many steps again. Neither this nor ``halves`` where weights are
            trained along, all data are one batch, several processes learn, or a sampler of the
            user's draws the examples.
    """

    samples: int = 1
    mode: Literal["joint", "sequential"] = "joint"
    kl_weight: float = 1.0
    limit_penalty: bool = True
    kl_anneal: float = 0.0
    epochs: int | None = None
    min_steps: int = 300
    max_steps: int | None = None
    seed: int = 0
    mixed_precision: bool = True
    spread: bool = False
    halves: bool | None = None
    intervals: bool = True

    def __post_init__(self) -> None:
        if self.mode not in ("joint", "sequential"):
            raise UsageError(f"unknown mode '{self.mode}'; use joint or sequential")
        open_ones = ("epochs", "max_steps")
        check_counts(self, *(name for name in open_ones if getattr(self, name) is not None))
        check_counts(self, "samples", "min_steps")
        if not self.kl_weight >= 0 or not 0 <= self.kl_anneal <= 1:
            raise UsageError("kl_weight must be at least 0 and kl_anneal between 0 and 1")
        check_seed(self.seed)

    def batch_size(self, examples: int, wanted: int) -> int:
        """Examples per step, for whoever makes the batches.

        Args:
            examples: there are.
            wanted: per step, where they are enough.

        Returns:
            ``wanted``, or fewer, down to :data:`SMALLEST_BATCH`, where ``epochs`` is None and one
            pass would make fewer than ``min_steps`` steps: steps tell more than examples do.
        """
        if self.epochs is not None:
            return wanted
        steps = min(self.min_steps, self.max_steps or self.min_steps)
        return min(wanted, max(SMALLEST_BATCH, examples // steps))

    def steps(self, batches: int, rounds: int = 1) -> int:
        """Steps of one round.

        Args:
            batches: a process takes of them in one pass.
            rounds: 1, or the number of groups in sequential mode.
        """
        if self.epochs is not None:
            steps = batches * self.epochs
        else:
            wanted = math.ceil(self.min_steps / rounds)
            steps = max(batches, min(wanted, batches * MOST_PASSES))
        return min(steps, self.max_steps or steps)
