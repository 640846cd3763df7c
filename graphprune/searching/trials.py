"""Trials of a search: allocations proposed, cut, judged on held-out data and put in order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset

from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.choosing.budget import TOLERANCE, Choice
from graphprune.choosing.target import Target
from graphprune.cutting import cut
from graphprune.errors import TargetError
from graphprune.importance.scoring import Scores
from graphprune.run import Run
from graphprune.searching.allocate import Allocator, Share
from graphprune.searching.proposals import plain_shares, random_share, varied_share
from graphprune.training.evaluate import loss_of
from graphprune.training.feed import Feed
from graphprune.training.recalibrate import recalibrate_batchnorm

FINALISTS = 5
"""How many of the best are judged on all of the held-out data."""
PARENTS = 4
"""How many of the best are varied."""
EXPLORED = 0.4
"""Share of the trials that is spent on plain and random allocations, before the best are varied."""
ATTEMPTS = 10
"""Proposals for each trial; one that was tried before costs an attempt but no trial."""


@dataclass(frozen=True)
class Contender:
    """A ranking of channels that allocations are made by.

    Attributes:
        whole: what is cut, and its analysis.
        scores: importance of its channels.
        allocator: makes plans.
    """

    whole: tuple[Captured, Analysis]
    scores: Scores
    allocator: Allocator


@dataclass(frozen=True)
class Trial:
    """One allocation and what the model is worth with it, before any fine-tuning.

    Attributes:
        contender: whose channels.
        share: how the budget was shared.
        choice: the plan.
        figures: ``accuracy`` and ``loss``, or ``distance``, of held-out data.
        plain: whether it is what :func:`graphprune.compress` would have chosen.
        examples: how many examples it was judged on.
    """

    contender: Contender
    share: Share
    choice: Choice
    figures: dict[str, float]
    plain: bool
    examples: int


@dataclass(frozen=True)
class TrialConfig:
    """How many trials, on how many examples, and whether statistics are re-estimated for each."""

    trials: int
    examples: int
    recalibrate: bool


class Trials:
    """A search in progress.

    Args:
        run: the model with its data.
        contenders: rankings to choose among, at least one.
        target: that every allocation meets, where any does.
        config: see :class:`TrialConfig`.
    """

    def __init__(
        self, run: Run, contenders: Sequence[Contender], target: Target, config: TrialConfig
    ) -> None:
        assert run.feed is not None
        self._run, self._contenders, self._target = run, contenders, target
        self._config, self._seed = config, run.config.learn.seed
        self._every = run.feed
        self._few = _part(run.feed, config.examples, self._seed)
        self._seen: set[tuple[int, int]] = set()
        self._found: list[Trial] = []

    def run(self) -> None:
        """Try as many allocations as asked for, or as there are; judge the best few on all data.

        Raises:
            TargetError: the budget cannot be reached.
        """
        for number, share in self._proposals():
            self._try(number, share)
            if len(self._found) == self._config.trials:
                break
        if _held_out(self._few) == _held_out(self._every):
            return
        ordered = self.best_first()
        finals = ordered[:FINALISTS] + [one for one in ordered[FINALISTS:] if one.plain]
        rest = [one for one in ordered if not any(one is final for final in finals)]
        again = [self._judged(one.contender, one, self._every) for one in finals]
        self._found = [*again, *rest]

    def best_first(self) -> list[Trial]:
        """The trials in order: those judged on most first, then by their figures."""
        return sorted(self._found, key=self._key)

    def _allowed(self) -> float:
        """What may stay: the target, or what the plain allocation's coarser steps made of it."""
        plain = max((one.choice.reached for one in self._found if one.plain), default=math.inf)
        return max(plain, self._target.fraction * (1 + TOLERANCE))

    def _key(self, trial: Trial) -> tuple[int, float, float]:
        loss = loss_of(trial.figures)
        accuracy = trial.figures.get("accuracy", 0.0)
        return -trial.examples, -accuracy, math.inf if loss is None else loss

    def _proposals(self) -> Iterator[tuple[int, Share]]:
        """Number of a contender and a share for it, the next depending on what came of the last."""
        rng = np.random.default_rng(self._seed)
        numbers = range(len(self._contenders))
        plain = [plain_shares(one.allocator.sizes) for one in self._contenders]
        for place in range(max(map(len, plain))):
            yield from ((n, plain[n][place]) for n in numbers if place < len(plain[n]))
        explored = EXPLORED * self._config.trials
        for attempt in range(ATTEMPTS * self._config.trials):
            if len(self._found) < explored and attempt < ATTEMPTS * explored:
                number = int(rng.integers(len(numbers)))
                sizes = self._contenders[number].allocator.sizes
                yield number, random_share(sizes.size, rng)
                continue
            parents = self.best_first()[:PARENTS]
            parent = parents[int(rng.integers(len(parents)))]
            number = next(n for n in numbers if self._contenders[n] is parent.contender)
            yield number, varied_share(parent.share, rng)

    def _try(self, number: int, share: Share) -> None:
        contender = self._contenders[number]
        try:
            choice = contender.allocator.choose(share, self._allowed())
        except TargetError:
            if not self._found:
                raise
            return  # this order of removal leaves other channels standing than the plain one
        key = number, hash(repr(choice.plan.kept))
        if key in self._seen:
            return
        self._seen.add(key)
        first = not self._found
        trial = Trial(contender, share, choice, {}, first, 0)
        self._found.append(self._judged(contender, trial, self._few))
        if self._run.config.progress is not None:
            best = self.best_first()[0].figures
            self._run.config.progress("search", len(self._found), self._config.trials, best)

    def _judged(self, contender: Contender, trial: Trial, feed: Feed) -> Trial:
        """The trial with figures of the model cut to its plan; equal to those of the masked one."""
        small = cut(*contender.whole, trial.choice.plan)
        if self._config.recalibrate:
            recalibrate_batchnorm(small.module, self._every.training(self._seed))
        figures = self._run.judge(small.module, feed)
        return replace(trial, figures=figures, examples=_held_out(feed))


def _held_out(feed: Feed) -> int:
    return len(feed.bundle.holdout)  # type: ignore[arg-type]


def _part(feed: Feed, examples: int, seed: int) -> Feed:
    """The feed with so many of its held-out examples, drawn at random; at least one batch."""
    data: Any = feed.bundle.holdout
    wanted = max(examples, feed.batch_size)
    if len(data) <= wanted:
        return feed
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    part = Subset(data, sorted(order[:wanted].tolist()))
    return replace(feed, bundle=replace(feed.bundle, holdout=part))
