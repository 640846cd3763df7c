"""The same fraction of every channel group: target ``channels``."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.cluster.hierarchy import DisjointSet

from graphprune.analysis.channels import ChannelGroup, Kind
from graphprune.analysis.groups import Analysis
from graphprune.choosing.guard import Guard, leaves_something
from graphprune.choosing.order import Cluster, Ranked, clusters
from graphprune.choosing.thinning import alone, least_first

_SHARING = (Kind.ROW, Kind.COLUMN, Kind.COLUMN_OF_MANY)
"""Of these, more than one dimension may have to be thinned together."""

_NEAR = 0.01
"""A budget counts as met as well as another within this fraction of the channels."""


def thin_each_group(ranked: Ranked, fraction: float) -> tuple[np.ndarray, float]:
    """Classes that stay of each group, bool by class, and the fraction of all channels they are.

    No group has a say in another's channels unless a tensor would be left without any.
    """
    analysis = ranked.analysis
    budget = _Budget(ranked, fraction)
    stays = np.ones(analysis.classes, dtype=bool)
    heads = []
    for cluster in clusters(analysis):
        if any(group.in_step or np.isin(group.kinds, _SHARING).any() for group in cluster[0]):
            heads.append(cluster)
            continue
        for group in cluster[0]:
            one_by_one = least_first(alone(group, ranked.thinning.heads), ranked.score)
            stays[one_by_one[: budget.of_group[group.name]]] = False
    for together in _on_one_budget(analysis, heads):
        stays[_thin_heads(ranked, together, budget)] = False
    if not leaves_something(analysis, stays):
        stays[:] = True
        grids, guard = _Grids(ranked, fraction, None), Guard(analysis)
        every = [step.classes for step in ranked.steps()]
        gone = budget.take(every, lambda one: grids.fits(one) and guard.remove(one))
        stays[list(gone)] = False
    grids = _Grids(ranked, fraction, None)
    kept = sum(grids.share(group, stays) * group.size for group in analysis.groups)
    return stays, kept / sum(group.size for group in analysis.groups)


def _thin_heads(ranked: Ranked, together: Sequence[Cluster], budget: _Budget) -> list[int]:
    """Classes that go of heads: as importance has it, unless that misses the budget.

    A head or a column of every head may be too large a last step. Heads alone, or columns alone,
    are taken then if they come nearer, of both the one that loses less importance.
    """
    policy = ranked.thinning.heads
    groups = [group for some, _ in together for group in some]
    size = sum(group.size for group in groups)
    stays = np.ones(ranked.analysis.classes, dtype=bool)
    found = []
    for heads in ("both", "whole", "inside") if policy == "both" else (policy,):
        one = replace(ranked, thinning=replace(ranked.thinning, heads=heads))
        grids = _Grids(one, budget.fraction, groups)
        gone = list(budget.take([step.classes for step in one.steps(together)], grids.fits))
        stays[gone] = False
        shares = ((grids.share(group, stays), group.size) for group in groups)
        missed = sum(max(share - budget.fraction, 0) * n for share, n in shares) / size
        stays[gone] = True
        found.append((missed, heads != "both", float(ranked.score[gone].sum()), gone))
        if missed <= _NEAR and heads == "both":
            break
    least = min(missed for missed, *_ in found)
    near = [one[1:] for one in found if one[0] <= least + _NEAR]
    return min(near, key=lambda one: one[:2])[2]


def _on_one_budget(analysis: Analysis, found: Sequence[Cluster]) -> list[list[Cluster]]:
    """Clusters that take rows and columns out of the same dimensions."""
    cluster_of: dict[int, int] = {}
    for number, (groups, rows) in enumerate(found):
        for classes in (*(group.channels.tolist() for group in groups), *rows):
            cluster_of.update(dict.fromkeys(classes, number))
    links: DisjointSet = DisjointSet(range(len(found)))
    for divided in analysis.heads.values():
        classes = analysis.class_of[torch.cat([divided.rows, divided.columns]).numpy()]
        met = sorted({cluster_of[one] for one in classes.tolist() if one in cluster_of})
        for one, other in itertools.pairwise(met):
            links.merge(one, other)
    return [[found[number] for number in sorted(subset)] for subset in links.subsets()]


class _Budget:
    """How many channels each group may lose."""

    def __init__(self, ranked: Ranked, fraction: float) -> None:
        nearest, groups = ranked.thinning.nearest, ranked.analysis.groups
        self.fraction = fraction
        self.of_group = {g.name: g.size - nearest(g.size * fraction, g.size) for g in groups}
        self._each = [self.of_group[group.name] for group in groups]
        self._group_of = ranked.analysis.group_of_class.tolist()

    def take(
        self, steps: Iterable[tuple[int, ...]], may_go: Callable[[list[int]], bool]
    ) -> set[int]:
        """What steps take away, as far as each group has a budget for it."""
        gone: set[int] = set()
        taken: dict[int, int] = {}
        for step in steps:  # plain Python: most steps take one channel
            fresh = [one for one in step if one not in gone]
            takes: dict[int, int] = {}
            for one in fresh:
                takes[self._group_of[one]] = takes.get(self._group_of[one], 0) + 1
            takes.pop(-1, None)
            after = {group: taken.get(group, 0) + n for group, n in takes.items()}
            if all(n <= self._each[group] for group, n in after.items()) and may_go(fresh):
                gone.update(fresh)
                taken |= after
        return gone


class _Grids:
    """Dimensions of rows and columns that are groups of their own: both take from one budget."""

    def __init__(
        self, ranked: Ranked, fraction: float, groups: Sequence[ChannelGroup] | None
    ) -> None:
        """Of these groups alone, if they are given."""
        analysis = ranked.analysis
        near = None if groups is None else {one for g in groups for one in g.channels.tolist()}
        self._slots: list[list[np.ndarray]] = []
        self._of: dict[int, list[int]] = defaultdict(list)
        self._gone: list[np.ndarray] = []
        self._budget: list[int] = []
        for place, divided in analysis.heads.items():
            division = analysis.context.divisions[place]
            slots = [
                analysis.slot_classes(divided.columns)[division.columns],
                analysis.slot_classes(divided.rows)[division.rows],
            ]
            classes = np.unique(np.concatenate(slots)).tolist()
            if near is not None and near.isdisjoint(classes):
                continue
            for one in classes:
                self._of[one].append(len(self._slots))
            self._slots.append(slots)
            self._gone.append(np.zeros(division.rows.size, dtype=bool))
            stays = ranked.thinning.nearest(division.width * fraction, division.width)
            self._budget.append((division.width - stays) * (division.rows.size // division.width))

    def fits(self, classes: Sequence[int]) -> bool:
        """Take classes away if each dimension has a budget for it; says whether it has."""
        after = {}
        for number in {number for one in classes for number in self._of.get(one, ())}:
            gone = self._gone[number].copy()
            for slot in self._slots[number]:
                gone |= np.isin(slot, classes)
            if gone.sum() > self._budget[number]:
                return False
            after[number] = gone
        for number, gone in after.items():
            self._gone[number] = gone
        return True

    def share(self, group: ChannelGroup, stays: np.ndarray) -> float:
        """What part of a group stays: of columns, with the rows that are left."""
        columns = group.alone[group.kinds == Kind.COLUMN_OF_MANY]
        numbers = {number for one in columns.tolist() for number in self._of[one]}
        if not numbers:
            return float(stays[group.channels].mean())
        kept = [np.logical_and.reduce([stays[s] for s in self._slots[n]]) for n in numbers]
        return float(np.mean([each.mean() for each in kept]))
