"""Choosing what to remove for a budget: an order of removal, cut where the target is met."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.cluster.hierarchy import DisjointSet

from graphprune.channels import ChannelGroup
from graphprune.cost import CostModel, cost_model
from graphprune.errors import TargetError
from graphprune.groups import Analysis
from graphprune.plan import Plan, plan_from_classes
from graphprune.ranking import check_ranking, rank_steps
from graphprune.rewrite import all_labels
from graphprune.target import Target, parse_target
from graphprune.thinning import check_heads, removal_order

TOLERANCE = 0.01
"""A budget counts as met within this fraction of the dense model (1 percentage point)."""


@dataclass(frozen=True)
class Choice:
    """A plan and how near it comes to what was asked.

    Attributes:
        plan: what to keep.
        reached: the fraction of the target's kind that stays.
        note: one line where the target was not met within :data:`TOLERANCE`, else "".
    """

    plan: Plan
    reached: float
    note: str


class _Step(NamedTuple):
    """One removal with its place in the order."""

    rank: float
    cluster: int
    classes: tuple[int, ...]


def choose(
    analysis: Analysis,
    scores: Mapping[str, torch.Tensor],
    target: str | Target,
    *,
    ranking: str = "local",
    method: str = "",
    heads: str = "both",
) -> Choice:
    """Choose the channels to keep.

    Args:
        analysis: of the captured graph.
        scores: by group name, importance of its channels, float, shape (D,); larger stays longer.
        target: what fraction stays; see :class:`graphprune.target.Target`.
        ranking: whose channels are compared; see :data:`graphprune.ranking.RANKINGS`.
        method: recorded in the plan.
        heads: what rows of grids may lose; see :data:`graphprune.thinning.HEADS`.

    Raises:
        TargetError: nothing can be removed, or the target cannot be reached; says what can.
    """
    target = parse_target(target)
    if not analysis.groups:
        raise TargetError(
            "no channels can be removed from this model: all are pinned; "
            "run 'graphprune inspect' to see why"
        )
    steps = _order(analysis, scores, ranking, check_heads(heads))
    guard = _Guard(analysis)
    if target.kind == "channels":
        classes = _thin_each_group(analysis, steps, target.fraction, guard)
        kept = sum(int(classes[g.channels].sum()) for g in analysis.groups)
        reached = kept / sum(g.size for g in analysis.groups)
        note = _note(target, reached) if reached - target.fraction > 0.05 else ""
    else:
        classes, reached = _cut(cost_model(analysis), steps, target, guard)
        note = _note(target, reached) if abs(reached - target.fraction) > TOLERANCE else ""
    plan = plan_from_classes(analysis, classes, target=str(target), method=method)
    return Choice(plan, reached, note)


def _note(target: Target, reached: float) -> str:
    return (
        f"asked for {target}, reached {target.kind}={reached:.4f}: "
        "the channels can be removed only in steps of this size"
    )


def _order(
    analysis: Analysis, scores: Mapping[str, torch.Tensor], ranking: str, heads: str
) -> list[_Step]:
    check_ranking(ranking)
    by_class = np.zeros(analysis.classes)
    for group in analysis.groups:
        values = scores[group.name].detach().double().cpu().numpy()
        if values.shape != (group.size,) or not np.isfinite(values).all():
            raise TargetError(
                f"scores of group {group.name} must be {group.size} finite numbers, "
                f"got shape {values.shape}"
            )
        if ranking == "local":  # groups that share rows are compared on one scale
            values = values / (np.abs(values).mean() or 1.0)
        by_class[group.channels] = values
    clusters = _clusters(analysis)
    orders = [removal_order(groups, rows, by_class, heads) for groups, rows in clusters]
    ranks = rank_steps(analysis, [groups for groups, _ in clusters], orders, ranking)
    steps = [
        _Step(rank, number, step.classes)
        for number, order in enumerate(orders)
        for step, rank in zip(order, ranks[number], strict=True)
    ]
    return sorted(steps, key=lambda step: (step.rank, step.cluster))


def _clusters(
    analysis: Analysis,
) -> list[tuple[list[ChannelGroup], list[tuple[int, ...]]]]:
    """Groups that lose whole rows together, with those rows."""
    links: DisjointSet = DisjointSet(range(len(analysis.groups)))
    of = _group_of(analysis)
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


def _group_of(analysis: Analysis) -> np.ndarray:
    """Number of the group of each class, -1 where there is none."""
    of = np.full(analysis.classes, -1)
    for number, group in enumerate(analysis.groups):
        of[group.channels] = number
    return of


class _Guard:
    """Refuses a removal that would leave a tensor without any channel."""

    def __init__(self, analysis: Analysis) -> None:
        groups: dict[bytes, np.ndarray] = {}
        slots = [s for n in analysis.module.graph.nodes for s in all_labels(analysis.context, n)]
        slots += analysis.context.store.grids.values()
        for slot in {(tuple(s.shape), s.contiguous().numpy().tobytes()): s for s in slots}.values():
            # Rows of a grid lose equally many, so none is empty before all of them are.
            found = np.unique(analysis.slot_classes(slot))
            groups.setdefault(found.tobytes(), found)
        pinned = analysis.pinned_classes
        tensors = [g for g in groups.values() if not (g < 0).any() and not pinned[g].any()]
        self._of: dict[int, list[int]] = {}
        self._sizes = [int(g.size) for g in tensors]
        for number, classes in enumerate(tensors):
            for one in classes:
                self._of.setdefault(int(one), []).append(number)

    def start(self) -> list[int]:
        """Channels left in each tensor dimension."""
        return list(self._sizes)

    def remove(self, left: list[int], classes: Sequence[int]) -> bool:
        """Take classes that are there away if every tensor keeps one; says whether it did."""
        lost: dict[int, int] = {}
        for one in classes:
            for number in self._of.get(one, ()):
                lost[number] = lost.get(number, 0) + 1
        if any(left[number] - n < 1 for number, n in lost.items()):
            return False
        for number, n in lost.items():
            left[number] -= n
        return True


def _thin_each_group(
    analysis: Analysis, steps: list[_Step], fraction: float, guard: _Guard
) -> np.ndarray:
    stays = [True] * analysis.classes
    left = guard.start()
    budget = [g.size - _kept(g, fraction) for g in analysis.groups]
    of = _group_of(analysis).tolist()
    for step in steps:  # plain Python: most steps take one channel
        there = [one for one in step.classes if stays[one]]
        takes: dict[int, int] = {}
        for one in there:
            takes[of[one]] = takes.get(of[one], 0) + 1
        takes.pop(-1, None)
        if all(n <= budget[group] for group, n in takes.items()) and guard.remove(left, there):
            for one in there:
                stays[one] = False
            for group, n in takes.items():
                budget[group] -= n
    return np.array(stays)


def _kept(group: ChannelGroup, fraction: float) -> int:
    return max(1, int(np.floor(group.size * fraction + 0.5)))


def _cut(
    costs: CostModel, steps: list[_Step], target: Target, guard: _Guard
) -> tuple[np.ndarray, float]:
    """Bisect for the shortest run of removals that meets the budget, and take the nearer side."""
    measure = costs.of(target.kind)
    everything = np.ones(costs.analysis.classes, dtype=bool)
    dense = measure(everything)
    if dense <= 0:
        raise TargetError(f"the model has no {target.kind} to count; use channels=")
    left = guard.start()
    feasible = []
    there = everything.copy()
    for step in steps:
        fresh = [one for one in step.classes if there[one]]
        if guard.remove(left, fresh):
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
    best = min(
        (count for count in (low - 1, low) if 0 <= count <= len(feasible)),
        key=lambda count: abs(measure(after(count)) / dense - target.fraction),
    )
    classes = after(best)
    return classes, measure(classes) / dense
