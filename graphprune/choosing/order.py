"""The order in which channels go: what is thinned together, and every removal in turn."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.choosing.ranking import rank_steps
from graphprune.choosing.thinning import Thinning, removal_order

Cluster = tuple[list[ChannelGroup], list[tuple[int, ...]]]
"""Groups that are thinned together, and the classes of each row that may go whole."""


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


@dataclass(frozen=True)
class Ranked:
    """The channels of an analysis with their importance by class, and how they are compared."""

    analysis: Analysis
    score: np.ndarray
    ranking: str
    thinning: Thinning

    def steps(self, found: Sequence[Cluster] | None = None) -> list[Removal]:
        """Every removal, in order, that of a cluster's own order kept; of all clusters or these."""
        found = clusters(self.analysis) if found is None else found
        orders = [removal_order(*cluster, self.score, self.thinning) for cluster in found]
        ranks = rank_steps(self.analysis, [groups for groups, _ in found], orders, self.ranking)
        steps = [
            Removal(rank, number, step.classes)
            for number, order in enumerate(orders)
            for step, rank in zip(order, ranks[number], strict=True)
        ]
        return sorted(steps, key=lambda step: (step.rank, step.cluster))


def clusters(analysis: Analysis) -> list[Cluster]:
    """Groups that lose whole rows together, with those rows."""
    links: DisjointSet = DisjointSet(range(len(analysis.groups)))
    for row in analysis.settled.row_units:
        for one, other in itertools.pairwise(_groups_of(analysis, row)):
            links.merge(one, other)
    found = []
    rows: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for row in analysis.settled.row_units:
        if touched := _groups_of(analysis, row):
            rows[links[touched[0]]].append(row)
    for numbers in sorted(sorted(subset) for subset in links.subsets()):
        groups = [analysis.groups[number] for number in numbers]
        found.append((groups, rows[links[numbers[0]]]))
    return found


def _groups_of(analysis: Analysis, classes: Sequence[int]) -> list[int]:
    """Numbers of the groups that hold any of the classes."""
    numbers = np.unique(analysis.group_of_class[list(classes)])
    found: list[int] = numbers[numbers >= 0].tolist()
    return found
