"""Choosing what to remove for a budget: an order of removal, cut where the target is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from graphprune.analysis.groups import Analysis
from graphprune.analysis.held import held_back
from graphprune.choosing.cost import CostModel, cost_model
from graphprune.choosing.each_group import thin_each_group
from graphprune.choosing.guard import Guard
from graphprune.choosing.order import Ranked, Removal
from graphprune.choosing.plan import Plan, plan_from_classes
from graphprune.choosing.ranking import check_ranking
from graphprune.choosing.target import AutoTarget, Target, parse_target
from graphprune.choosing.thinning import FREELY, Thinning
from graphprune.errors import TargetError

Found = TypeVar("Found")

TOLERANCE = 0.01
"""A budget counts as met within this fraction of the dense model (1 percentage point)."""

_OTHER_ORDERS = "; another --ranking has others"


@dataclass(frozen=True)
class Choice:
    """A plan and how near it comes to what was asked.

    Attributes:
        plan: what to keep.
        reached: the fraction of the target's kind that stays.
        note: one line where the target was not met within :data:`TOLERANCE`, else "".
        below: target ``auto`` only: by group, the probability that each channel lies below its
            cut-off, float64 (D,).
    """

    plan: Plan
    reached: float
    note: str
    below: Mapping[str, torch.Tensor] = field(default_factory=dict)


def choose(  # noqa: PLR0913 - one for each thing that decides what goes
    analysis: Analysis,
    scores: Mapping[str, torch.Tensor],
    target: str | Target | AutoTarget,
    *,
    ranking: str = "local",
    method: str = "",
    thinning: Thinning = FREELY,
    original: Analysis | None = None,
) -> Choice:
    """Choose the channels to keep.

    Args:
        analysis: of the captured graph.
        scores: by group name, importance of its channels, float, shape (D,); larger stays longer.
        target: what fraction stays; see :class:`graphprune.choosing.target.Target`.
        ranking: whose channels are compared; see :data:`graphprune.choosing.ranking.RANKINGS`.
        method: recorded in the plan.
        thinning: what rows of grids may lose, and which widths may be left.
        original: of the user's model, which fractions are of, where parameters were added to it.

    Raises:
        TargetError: nothing can be removed, or the target cannot be reached; says what can.
    """
    target = parse_target(target)
    if isinstance(target, AutoTarget):
        raise TargetError(
            "target auto needs what switches learned and not their scores alone: "
            "use cut_off(analysis, scores, target)"
        )
    require_groups(analysis)
    score = by_class(analysis, scores, ranking)
    if target.kind == "channels":
        ranked = Ranked(analysis, score, ranking, thinning)
        classes, reached = thin_each_group(ranked, target.fraction)
        missed = reached - target.fraction > 0.05
    else:
        costs = cost_model(analysis)
        dense = (cost_model(original) if original else costs).dense(target.kind)

        def attempt(finer: Thinning) -> tuple[np.ndarray, float]:
            steps = Ranked(analysis, score, ranking, finer).steps()
            return meet(costs, steps, target, Guard(analysis), dense=dense)

        classes, reached = first_to_meet(target, thinning, attempt)
        missed = abs(reached - target.fraction) > TOLERANCE
    note = note_for(target, reached) + _OTHER_ORDERS if missed else ""
    plan = plan_from_classes(analysis, classes, target=str(target), method=method)
    return Choice(plan, reached, note)


def require_groups(analysis: Analysis) -> None:
    """Refuse a model of which nothing can go.

    Raises:
        TargetError: it has no channel groups.
    """
    if not analysis.groups:
        held = held_back(analysis)
        inner = [one for one in held if not one.interface] or held  # the rest is so in any model
        most = f", most of them by {inner[0].reason}" if inner else ""
        where = f" ({inner[0].source})" if inner and inner[0].source else ""
        raise TargetError(
            f"no channels can be removed from this model: all are pinned{most}{where}; "
            "run 'graphprune inspect' to see all reasons"
        )


def note_for(target: Target, reached: float) -> str:
    """The line for the user where a target was missed."""
    return (
        f"asked for {target}, reached {target.kind}={reached:.4f}: "
        "in this order the channels go in steps of this size"
    )


def by_class(analysis: Analysis, scores: Mapping[str, torch.Tensor], ranking: str) -> np.ndarray:
    """Importance by class, float64 (classes,), of scores by group.

    Raises:
        TargetError: scores do not fit their group, or there is no such ranking.
    """
    check_ranking(ranking)
    found = np.zeros(analysis.classes)
    for group in analysis.groups:
        given: object = scores.get(group.name)
        if not isinstance(given, torch.Tensor) or given.shape != (group.size,):
            got = "none" if given is None else f"a {type(given).__name__}"
            got += f" of shape {tuple(given.shape)}" if isinstance(given, torch.Tensor) else ""
            raise TargetError(
                f"scores of group {group.name} must be a tensor of {group.size} finite numbers, "
                f"got {got}; give those of every group of the analysis by its name"
            )
        values = given.detach().double().cpu().numpy()
        lost = int((~np.isfinite(values)).sum())
        if lost:
            raise TargetError(
                f"scores of group {group.name} must be finite, but {lost} of {group.size} are NaN "
                "or infinite; channels cannot be ranked by them"
            )
        if ranking == "local":  # groups that share rows are compared on one scale
            values = values / (np.abs(values).mean() or 1.0)
        found[group.channels] = values
    return found


def first_to_meet(
    target: Target, thinning: Thinning, attempt: Callable[[Thinning], tuple[Found, float]]
) -> tuple[Found, float]:
    """What the coarsest thinning leaves that meets the budget, or else the finest.

    For ``channels``, where every group goes by itself, that is the first.

    Args:
        target: what stays.
        thinning: the first to try.
        attempt: gives what stays and the fraction that it makes, as :func:`meet` does.

    Raises:
        TargetError: of the last attempt.
    """
    if target.kind == "channels":
        return attempt(thinning)
    *coarse, finest = thinning.finer()
    for one in coarse:
        try:
            found = attempt(one)
        except TargetError:
            continue  # steps so large cannot go far enough
        if abs(found[1] - target.fraction) <= TOLERANCE:
            return found
    return attempt(finest)


def meet(
    costs: CostModel,
    steps: list[Removal],
    target: Target,
    guard: Guard,
    most: float = math.inf,
    dense: float | None = None,
) -> tuple[np.ndarray, float]:
    """Bisect for the shortest run of removals that meets the budget, and take the nearer side.

    Args:
        costs: of the graph.
        steps: removals in order.
        target: what stays.
        guard: fresh; refuses removals that would leave nothing of a tensor.
        most: the largest fraction that may stay, if removals can help it.
        dense: what fractions are of; None: the cost of the graph with nothing removed.

    Returns:
        (classes that stay, bool by class; the fraction that they make).

    Raises:
        TargetError: the budget cannot be reached, or there is nothing of its kind.
    """
    measure = costs.of(target.kind)
    everything = np.ones(costs.analysis.classes, dtype=bool)
    dense = measure(everything) if dense is None else dense
    if dense <= 0:
        raise TargetError(f"the model has no {target.kind} to count; use channels=")
    feasible = []
    there = everything.copy()
    for step in steps:
        fresh = [one for one in step.classes if there[one]]
        if guard.remove(fresh):
            there[fresh] = False
            feasible.append(fresh)

    def after(count: int) -> np.ndarray:
        classes = everything.copy()
        classes[[one for unit in feasible[:count] for one in unit]] = False
        return classes

    smallest = measure(after(len(feasible))) / dense
    if smallest > target.fraction + TOLERANCE:
        raise TargetError(
            f"{target} cannot be reached: with one channel left in every layer "
            f"{target.kind}={smallest:.3f} remain; ask for at least that"
        )
    low, high = 0, len(feasible)
    while low < high:
        middle = (low + high) // 2
        if measure(after(middle)) / dense <= target.fraction:
            high = middle
        else:
            low = middle + 1
    nearest = {count: measure(after(count)) / dense for count in (low - 1, low) if count >= 0}
    best = min(
        nearest,
        key=lambda count: (nearest[count] > most, abs(nearest[count] - target.fraction)),
    )
    classes = after(best)
    return classes, measure(classes) / dense
