"""Which groups and which of their channels a page shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from graphprune.analysis.groups import Analysis
from graphprune.errors import ModelError, UsageError
from graphprune.features.places import View, find_views
from graphprune.io.text import few

MOST_MAPS = 4000
"""A page shows so many maps at most."""


def choose_groups(
    analysis: Analysis, groups: Sequence[str], at: Sequence[str], limit: int
) -> dict[str, View]:
    """The groups to be shown, in graph order, and where.

    Args:
        analysis: of the captured graph.
        groups: names of those asked for; empty: all that lie at the nodes ``at``, or where there
            are none of these either, ``limit`` of them, spread over the graph.
        at: names of graph nodes to look at.
        limit: see ``groups``.

    Raises:
        ModelError: there is none to show.
        UsageError: a group or a node is not one of those with channels that can go.
    """
    views = find_views(analysis, at)
    known = list(views)
    if not known:
        raise ModelError("no channels of this model can go; see graphprune inspect for the reasons")
    for name in groups:
        if name not in views:
            raise UsageError(
                f"channel group {name!r} is not one of those that can be shown ({few(known)}); "
                "graphprune inspect lists them"
            )
    for node in at:
        if all(view.node.name != node for view in views.values()):
            raise UsageError(
                f"node {node!r} is not shown: no node of this name holds channels that can go, or "
                "another one given holds as many and comes first; a page names the nodes"
            )
    if groups or at:
        asked = groups or [name for name in known if views[name].node.name in at]
        return {name: views[name] for name in known if name in asked}
    places = np.linspace(0, len(known) - 1, min(limit, len(known))).round().astype(int)
    return {known[place]: views[known[place]] for place in np.unique(places)}


def check_amount(views: Iterable[View], channels: int, examples: int) -> None:
    """Refuse a page that no browser would like.

    Raises:
        UsageError: there would be more maps than :data:`MOST_MAPS`.
    """
    maps = sum(min(2 * channels, len(view.channels)) for view in views) * examples
    if maps > MOST_MAPS:
        raise UsageError(
            f"that would be {maps} maps on one page, more than {MOST_MAPS}; "
            "ask for fewer groups, channels or examples"
        )


def rank(importance: torch.Tensor, view: View) -> list[int]:
    """The channels that lie at the place shown, the most important first."""
    here = view.channels
    order = torch.sort(importance[here], descending=True, stable=True).indices
    found: list[int] = here[order].tolist()
    return found


def ends(order: Sequence[int], channels: int) -> tuple[list[int], list[int]]:
    """So many of the first and of the last channels of an order, none of them in both."""
    most = min(channels, -(-len(order) // 2))
    least = min(channels, len(order) - most)
    return list(order[:most]), list(order[len(order) - least :])
