"""Choosing what to remove for a budget: an order of removal, cut where the target is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from graphprune.cost import CostModel, cost_model
from graphprune.errors import TargetError
from graphprune.groups import Analysis, ChannelGroup
from graphprune.plan import Plan, plan_from_classes
from graphprune.rewrite import all_labels
from graphprune.target import Target, parse_target

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


@dataclass(frozen=True)
class _Step:
    """One removal unit with its place in the order."""

    rank: float
    group: int
    classes: tuple[int, ...]


def choose(
    analysis: Analysis,
    scores: Mapping[str, torch.Tensor],
    target: str | Target,
    *,
    ranking: str = "local",
    method: str = "",
) -> Choice:
    """Choose the channels to keep.

    Args:
        analysis: of the captured graph.
        scores: by group name, importance of its channels, float, shape (D,); larger stays longer.
        target: what fraction stays; see :class:`graphprune.target.Target`.
        ranking: ``local`` thins every group alike, its least important channels first; ``global``
            compares scores between groups.
        method: recorded in the plan.

    Raises:
        TargetError: nothing can be removed, or the target cannot be reached; says what can.
    """
    target = parse_target(target)
    if not analysis.groups:
        raise TargetError(
            "no channels can be removed from this model: all are pinned; "
            "run 'graphprune inspect' to see why"
        )
    steps = _order(analysis, scores, ranking)
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


def _order(analysis: Analysis, scores: Mapping[str, torch.Tensor], ranking: str) -> list[_Step]:
    if ranking not in ("local", "global"):
        raise TargetError(f"ranking {ranking!r} is not known; use local or global")
    by_class = np.zeros(analysis.classes)
    for group in analysis.groups:
        values = scores[group.name].detach().double().cpu().numpy()
        if values.shape != (group.size,) or not np.isfinite(values).all():
            raise TargetError(
                f"scores of group {group.name} must be {group.size} finite numbers, "
                f"got shape {values.shape}"
            )
        by_class[group.channels] = values
    steps = []
    for number, group in enumerate(analysis.groups):
        units = [unit for block in group.blocks for unit in block.ordered(by_class)]
        units.sort(key=lambda unit: (float(np.mean(by_class[list(unit)])), unit))
        for place, unit in enumerate(units):
            value = float(np.mean(by_class[list(unit)]))
            rank = (place + 0.5) / len(units) if ranking == "local" else value
            steps.append(_Step(rank, number, unit))
    return sorted(steps, key=lambda step: (step.rank, step.group))


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

    def remove(self, left: list[int], classes: tuple[int, ...]) -> bool:
        """Take the classes away if every tensor keeps at least one; says whether it did."""
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
    classes = np.ones(analysis.classes, dtype=bool)
    left = guard.start()
    budget = [g.size - _kept(g, fraction) for g in analysis.groups]
    for step in steps:
        if len(step.classes) <= budget[step.group] and guard.remove(left, step.classes):
            classes[list(step.classes)] = False
            budget[step.group] -= len(step.classes)
    return classes


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
    feasible = [step.classes for step in steps if guard.remove(left, step.classes)]

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
