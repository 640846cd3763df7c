"""A budget shared among channel groups in other ways than evenly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from graphprune.analysis.groups import Analysis
from graphprune.choosing.budget import (
    TOLERANCE,
    Choice,
    by_class,
    first_to_meet,
    meet,
    note_for,
    require_groups,
)
from graphprune.choosing.cost import cost_model
from graphprune.choosing.guard import Guard
from graphprune.choosing.order import Removal, clusters
from graphprune.choosing.plan import plan_from_classes
from graphprune.choosing.ranking import rank_steps
from graphprune.choosing.target import Target
from graphprune.choosing.thinning import FREELY, Thinning, removal_order


@dataclass(frozen=True)
class Share:
    """One way to share a budget.

    Attributes:
        name: for people.
        ranking: the order of removal that the rates stretch; see
            :data:`graphprune.choosing.ranking.RANKINGS`.
        rates: by cluster of groups that are thinned together, how fast it is thinned, float64
            (clusters,), positive. All 1 is the ranking as it is; with ``local``, a cluster of
            rate 2 loses twice the share that others lose.
    """

    name: str
    ranking: str
    rates: np.ndarray


class Allocator:
    """Plans for one importance of channels and one budget, for any number of shares.

    A share only says how the groups compare. However it does, channels go in its order until the
    budget is met, and within a group always the least important first.

    Args:
        analysis: of the captured graph.
        scores: by group name, importance of its channels, float (D,); larger stays longer.
        target: what stays; ``channels`` is counted over all groups together.
        thinning: what rows of grids may lose, and which widths may be left.
        method: recorded in the plans.
        original: of the user's model, which fractions are of, where parameters were added to it.

    Raises:
        TargetError: no channel can be removed.
    """

    def __init__(
        self,
        analysis: Analysis,
        scores: Mapping[str, torch.Tensor],
        target: Target,
        *,
        thinning: Thinning = FREELY,
        method: str = "",
        original: Analysis | None = None,
    ) -> None:
        require_groups(analysis)
        self.analysis = analysis
        self._scores, self._target, self._method = scores, target, method
        self._thinning = thinning
        self._clusters = clusters(analysis)
        self._costs = cost_model(analysis)
        self._dense = (cost_model(original) if original else self._costs).dense(target.kind)
        self._guard = Guard(analysis)
        self._ranked: dict[tuple[str, int], list[list[Removal]]] = {}

    @property
    def sizes(self) -> np.ndarray:
        """Number of channels of each cluster, int64 (clusters,); in the order of the graph."""
        return np.array([sum(group.size for group in groups) for groups, _ in self._clusters])

    def choose(self, share: Share, most: float = math.inf) -> Choice:
        """The plan under a share, as near to the budget as its steps come.

        Args:
            share: how the groups compare.
            most: the largest fraction that may stay, if removals can help it.

        Raises:
            TargetError: the budget cannot be reached.
        """

        def attempt(thinning: Thinning) -> tuple[np.ndarray, float]:
            steps = [
                step._replace(rank=step.rank / share.rates[step.cluster])
                for steps in self._steps(share.ranking, thinning)
                for step in steps
            ]
            steps.sort(key=lambda step: (step.rank, step.cluster))
            guard = self._guard.copy()
            return meet(self._costs, steps, self._target, guard, most, self._dense)

        classes, reached = first_to_meet(self._target, self._thinning, attempt)
        plan = plan_from_classes(
            self.analysis, classes, target=str(self._target), method=self._method
        )
        missed = abs(reached - self._target.fraction) > TOLERANCE
        return Choice(plan, reached, note_for(self._target, reached) if missed else "")

    def _steps(self, ranking: str, thinning: Thinning) -> list[list[Removal]]:
        """Removals by cluster, each in order; ranks above 0, so that rates stretch them."""
        key = ranking, thinning.widest
        if key not in self._ranked:
            score = by_class(self.analysis, self._scores, ranking)
            orders = [removal_order(*cluster, score, thinning) for cluster in self._clusters]
            ranks = rank_steps(self.analysis, [g for g, _ in self._clusters], orders, ranking)
            if ranking == "global":  # scores of any sign and size
                ranks = _places(ranks)
            self._ranked[key] = [
                [
                    Removal(rank, number, step.classes)
                    for step, rank in zip(order, ranks[number], strict=True)
                ]
                for number, order in enumerate(orders)
            ]
        return self._ranked[key]


def _places(ranks: list[list[float]]) -> list[list[float]]:
    """Each rank's place among all of them, in (0, 1]; equal ranks share the last place."""
    every = np.sort(np.concatenate([np.asarray(one, dtype=float) for one in ranks]))
    return [(np.searchsorted(every, one, side="right") / every.size).tolist() for one in ranks]
