"""Where the activations of a channel group are looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import positions
from graphprune.criteria.watch import Place, depending_on_inputs, reading_places
from graphprune.switches.placement import switch_sites
from graphprune.switches.sites import SwitchSite


@dataclass(frozen=True, eq=False)
class View:
    """Places of one group.

    Attributes:
        node: the graph node whose value is shown.
        index: channel numbers of its elements, see :class:`SwitchSite`.
        scaled: whether a switch would act there.
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
    activations. A node named in ``at`` is preferred to all others, wherever in the graph it stands.
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
        asked = [site for name in at if name in nodes for site in _at(analysis, group, nodes[name])]
        found: Sequence[SwitchSite | Place] = asked or made or read
        if found:
            first = _fullest(found, list(nodes))
            scaled = any(site.node == first.node for site in made)
            others = [site.node for site in made if site.node != first.node]
            views[group.name] = View(
                nodes[first.node], first.index, scaled, tuple(dict.fromkeys(others)), read
            )
    return views


def _at(analysis: Analysis, group: ChannelGroup, node: fx.Node) -> list[SwitchSite]:
    """The group's channels in the value of any node."""
    indices = [positions(analysis, group, slot) for slot in analysis.context.of(node)]
    return [SwitchSite(node.name, group.name, one) for one in indices if bool((one >= 0).any())]


def _fullest(found: Sequence[SwitchSite | Place], order: list[str]) -> SwitchSite | Place:
    def rank(one: SwitchSite | Place) -> tuple[int, int]:
        channels = one.index.unique()
        return -int((channels >= 0).sum()), order.index(one.node)

    return min(found, key=rank)
