"""Where the activations of a channel group are looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from graphprune.criteria.watch import Place, depending_on_inputs, reading_places
from graphprune.groups import Analysis
from graphprune.switches.placement import switch_sites
from graphprune.switches.sites import SwitchSite


@dataclass(frozen=True, eq=False)
class View:
    """Places of one group.

    Attributes:
        node: the graph node whose value is shown.
        index: channel numbers of its elements, see :class:`SwitchSite`.
        scaled: whether a switch would act there; else it is where a consumer reads the channels.
        others: further nodes on which a switch of the group acts.
        read: where consumers read the group's channels, behind nonlinearities.
    """

    node: fx.Node
    index: torch.Tensor
    scaled: bool
    others: tuple[str, ...]
    read: tuple[Place, ...]

    @property
    def channels(self) -> torch.Tensor:
        """Numbers of the channels that lie there, int64, in order."""
        found: torch.Tensor = self.index.unique()
        return found[found >= 0]


def find_views(analysis: Analysis, at: Sequence[str] = ()) -> dict[str, View]:
    """For each group the place that is shown, by group name; groups without activations lack one.

    It is the first in the graph of those with the most channels, preferably one where a switch
    scales the group: behind the producer and the affine map that follows, before the
    nonlinearity. Values that do not change with the model's inputs (position tables) are no
    activations. A node named in ``at`` is preferred to all others, whether a switch acts there or a
    consumer reads the channels.
    """
    nodes: dict[str, fx.Node] = {node.name: node for node in analysis.module.graph.nodes}
    moving = depending_on_inputs(analysis.module.graph)
    sites: dict[str, list[SwitchSite]] = defaultdict(list)
    places: dict[str, list[Place]] = defaultdict(list)
    for site in switch_sites(analysis):
        if nodes[site.node] in moving:
            sites[site.group].append(site)
    for place in reading_places(analysis):
        places[place.group].append(place)
    views = {}
    for group in analysis.groups:
        made, read = sites[group.name], tuple(places[group.name])
        every: list[SwitchSite | Place] = [*made, *read]
        asked = [place for place in every if place.node in at]
        if asked or made or read:
            first = _fullest(asked or made or every, list(nodes))
            scaled = any(site.node == first.node for site in made)
            others = [site.node for site in made if site.node != first.node]
            views[group.name] = View(
                nodes[first.node], first.index, scaled, tuple(dict.fromkeys(others)), read
            )
    return views


def _fullest(found: Sequence[SwitchSite | Place], order: list[str]) -> SwitchSite | Place:
    def rank(one: SwitchSite | Place) -> tuple[int, int]:
        channels = one.index.unique()
        return -int((channels >= 0).sum()), order.index(one.node)

    return min(found, key=rank)
