"""Whose channels are ranked against whose when a budget is spent over the whole model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.choosing.isomorphic import signatures
from graphprune.choosing.thinning import Step
from graphprune.errors import TargetError

RANKINGS = ("local", "global", "isomorphic")
"""``local`` thins every group alike, its least important channels first; ``global`` compares the
scores of all groups; ``isomorphic`` of those of one structure, and thins every structure alike."""


def check_ranking(ranking: str) -> str:
    """The ranking, if there is one of this name.

    Raises:
        TargetError: there is none.
    """
    if ranking not in RANKINGS:
        raise TargetError(f"ranking {ranking!r} is not known; use {', '.join(RANKINGS)}")
    return ranking


def rank_steps(
    analysis: Analysis,
    clusters: Sequence[Sequence[ChannelGroup]],
    orders: Sequence[Sequence[Step]],
    ranking: str,
) -> list[list[float]]:
    """The rank of each step of each cluster; the lowest of all goes first.

    Args:
        analysis: of the captured graph.
        clusters: groups that are thinned together.
        orders: the steps of each cluster, in order.
        ranking: one of :data:`RANKINGS`.
    """
    if ranking == "global":
        return [[step.value for step in order] for order in orders]
    kinds = [str(number) for number in range(len(clusters))]
    if ranking == "isomorphic":
        kinds = signatures(analysis, clusters)
    together: dict[str, list[int]] = defaultdict(list)
    for number, kind in enumerate(kinds):
        together[kind].append(number)
    ranks = [[0.0] * len(order) for order in orders]
    for numbers in together.values():
        size = sum(group.size for number in numbers for group in clusters[number])
        places = [(step, n, k) for n in numbers for k, step in enumerate(orders[n])]
        gone = 0
        for step, number, place in sorted(places, key=lambda found: found[0].value):
            ranks[number][place] = (gone + step.fresh / 2) / size
            gone += step.fresh
    return ranks
