"""Choosing what to remove for a budget: an order of removal, cut where the target is met."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from scipy.cluster.hierarchy import DisjointSet

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.analysis.held import held_back
from graphprune.choosing.cost import CostModel, cost_model
from graphprune.choosing.guard import Guard, leaves_something
from graphprune.choosing.plan import Plan, plan_from_classes
from graphprune.choosing.ranking import check_ranking, rank_steps
from graphprune.choosing.target import AutoTarget, Target, parse_target
from graphprune.choosing.thinning import FREELY, Thinning, least_first, removal_order
from graphprune.errors import TargetError

Found = TypeVar("Found")

TOLERANCE = 0.01
"""A budget counts as met within this fraction of the dense model (1 percentage point)."""


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


class Removal(NamedTuple):
    """One removal with its place in the order.

    Attributes:
        rank: the lowest of all goes first.
        cluster: number of the cluster of groups that it thins; see :func:`clusters`.
        classes: of channels that go.
    """

    rank: float
    cluster: int
    classes: tuple[int, ...]


def choose(
    analysis: Analysis,
    scores: Mapping[str, torch.Tensor],
    target: str | Target | AutoTarget,
    *,
    ranking: str = "local",
    method: str = "",
    thinning: Thinning = FREELY,
) -> Choice:
    """Choose the channels to keep.

    Args:
        analysis: of the captured graph.
        scores: by group name, importance of its channels, float, shape (D,); larger stays longer.
        target: what fraction stays; see :class:`graphprune.choosing.target.Target`.
        ranking: whose channels are compared; see :data:`graphprune.choosing.ranking.RANKINGS`.
        method: recorded in the plan.
        thinning: what rows of grids may lose, and which widths may be left.

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
        classes = _thin_each_group(_Ranked(analysis, score, ranking, thinning), target.fraction)
        kept = sum(int(classes[g.channels].sum()) for g in analysis.groups)
        reached = kept / sum(g.size for g in analysis.groups)
        note = note_for(target, reached) if reached - target.fraction > 0.05 else ""
    else:
        costs = cost_model(analysis)

        def attempt(finer: Thinning) -> tuple[np.ndarray, float]:
            steps = _Ranked(analysis, score, ranking, finer).steps()
            return meet(costs, steps, target, Guard(analysis))

        classes, reached = first_to_meet(target, thinning, attempt)
        note = note_for(target, reached) if abs(reached - target.fraction) > TOLERANCE else ""
    plan = plan_from_classes(analysis, classes, target=str(target), method=method)
    return Choice(plan, reached, note)


def require_groups(analysis: Analysis) -> None:
    """Refuse a model of which nothing can go.

    Raises:
        TargetError: it has no channel groups.
    """
    if not analysis.groups:
        held = held_back(analysis)
        most = f", most of them by {held[0].reason}" if held else ""
        where = f" ({held[0].source})" if held and held[0].source else ""
        raise TargetError(
            f"no channels can be removed from this model: all are pinned{most}{where}; "
            "run 'graphprune inspect' to see all reasons"
        )


def note_for(target: Target, reached: float) -> str:
    """The line for the user where a target was missed."""
    return (
        f"asked for {target}, reached {target.kind}={reached:.4f}: "
        "the channels can be removed only in steps of this size"
    )


def by_class(analysis: Analysis, scores: Mapping[str, torch.Tensor], ranking: str) -> np.ndarray:
    """Importance by class, float64 (classes,), of scores by group.

    Raises:
        TargetError: scores do not fit their group, or there is no such ranking.
    """
    check_ranking(ranking)
    found = np.zeros(analysis.classes)
    for group in analysis.groups:
        values = scores[group.name].detach().double().cpu().numpy()
        if values.shape != (group.size,) or not np.isfinite(values).all():
            raise TargetError(
                f"scores of group {group.name} must be {group.size} finite numbers, "
                f"got shape {values.shape}"
            )
        if ranking == "local":  # groups that share rows are compared on one scale
            values = values / (np.abs(values).mean() or 1.0)
        found[group.channels] = values
    return found


@dataclass(frozen=True)
class _Ranked:
    """The channels of an analysis with their importance by class, and how they are compared."""

    analysis: Analysis
    score: np.ndarray
    ranking: str
    thinning: Thinning

    def steps(self) -> list[Removal]:
        """Every removal, in order; that of a cluster's own order is kept."""
        found = clusters(self.analysis)
        orders = [removal_order(*cluster, self.score, self.thinning) for cluster in found]
        ranks = rank_steps(self.analysis, [groups for groups, _ in found], orders, self.ranking)
        steps = [
            Removal(rank, number, step.classes)
            for number, order in enumerate(orders)
            for step, rank in zip(order, ranks[number], strict=True)
        ]
        return sorted(steps, key=lambda step: (step.rank, step.cluster))


def clusters(
    analysis: Analysis,
) -> list[tuple[list[ChannelGroup], list[tuple[int, ...]]]]:
    """Groups that lose whole rows together, with those rows."""
    links: DisjointSet = DisjointSet(range(len(analysis.groups)))
    of = analysis.group_of_class
    for row in analysis.settled.row_units:
        touched = np.unique(of[list(row)]).tolist()
        for one, other in itertools.pairwise(number for number in touched if number >= 0):
            links.merge(one, other)
    found = []
    rows: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for row in analysis.settled.row_units:
        if of[row[0]] >= 0:
            rows[links[int(of[row[0]])]].append(row)
    for numbers in sorted(sorted(subset) for subset in links.subsets()):
        groups = [analysis.groups[number] for number in numbers]
        found.append((groups, rows[links[numbers[0]]]))
    return found


def _thin_each_group(ranked: _Ranked, fraction: float) -> np.ndarray:
    """Classes that stay of each group: bool by class.

    No group has a say in another's channels unless a tensor would be left without any.
    """
    analysis = ranked.analysis
    nearest = ranked.thinning.nearest
    budget = [g.size - nearest(g.size * fraction, g.size) for g in analysis.groups]
    stays = np.ones(analysis.classes, dtype=bool)
    numbers = {group.name: number for number, group in enumerate(analysis.groups)}
    steps: list[tuple[int, ...]] = []
    for groups, rows in clusters(analysis):
        if any(group.in_step for group in groups):
            order = removal_order(groups, rows, ranked.score, ranked.thinning)
            steps += [step.classes for step in order]
            continue
        for group in groups:
            one_by_one = least_first(group.alone, ranked.score)
            stays[one_by_one[: budget[numbers[group.name]]]] = False
    _take(analysis, steps, budget, stays)
    if not leaves_something(analysis, stays):
        stays[:] = True
        guard = Guard(analysis)
        _take(analysis, [step.classes for step in ranked.steps()], budget, stays, guard)
    return stays


def _take(
    analysis: Analysis,
    steps: Iterable[tuple[int, ...]],
    budget: Sequence[int],
    stays: np.ndarray,
    guard: Guard | None = None,
) -> None:
    """Clear in ``stays`` what steps take away, as far as each group has a budget for it."""
    there, budget = stays.tolist(), list(budget)
    of = analysis.group_of_class.tolist()
    for step in steps:  # plain Python: most steps take one channel
        fresh = [one for one in step if there[one]]
        takes: dict[int, int] = {}
        for one in fresh:
            takes[of[one]] = takes.get(of[one], 0) + 1
        takes.pop(-1, None)
        fits = all(n <= budget[group] for group, n in takes.items())
        if fits and (guard is None or guard.remove(fresh)):
            for one in fresh:
                there[one] = False
            for group, n in takes.items():
                budget[group] -= n
    stays[:] = there


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
) -> tuple[np.ndarray, float]:
    """Bisect for the shortest run of removals that meets the budget, and take the nearer side.

    Args:
        costs: of the graph.
        steps: removals in order.
        target: what stays.
        guard: fresh; refuses removals that would leave nothing of a tensor.
        most: the largest fraction that may stay, if removals can help it.

    Returns:
        (classes that stay, bool by class; the fraction that they make).

    Raises:
        TargetError: the budget cannot be reached, or there is nothing of its kind.
    """
    measure = costs.of(target.kind)
    everything = np.ones(costs.analysis.classes, dtype=bool)
    dense = measure(everything)
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
