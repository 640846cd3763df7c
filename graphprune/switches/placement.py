"""Where switches go: where a scale of zero is what removal is, before the nonlinearity.

That is behind each producer and the affine that follows. A switch before a normalisation would be
divided away again, and leave the norm's shift behind, which goes with a channel; a switch after the
nonlinearity is not eq. 2 of the paper.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import fx

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import positions
from graphprune.graph.values import is_free, is_tensor
from graphprune.labels.slots import Slot, varying
from graphprune.rules.table import find_rule
from graphprune.shrinking.rewrite import all_labels
from graphprune.switches.sites import SwitchSite

aten = torch.ops.aten

# Element-wise maps that are affine where all other operands are parameters (LayerScale, frozen
# batch norm written out).
_AFFINE = (aten.mul.Tensor, aten.add.Tensor, aten.sub.Tensor, aten.div.Tensor)


def switch_sites(analysis: Analysis) -> tuple[SwitchSite, ...]:
    """Sites for every place where a group's channels come forth, all on the group's one switch.

    What is scaled once may gain a shift later: by the norm of a concatenation or of a residual
    stream, by a depthwise convolution. So that is scaled too, and what comes before it is not,
    unless something reads it first; a norm across channels reads it too. Left out are places whose
    channels lie along a dimension that grows with the batch.
    """
    holders = _Holders(analysis)
    sites: dict[tuple[str, str, bytes], SwitchSite] = {}
    for number, places in sorted(_places(analysis, holders).items()):
        reached = {node: places.is_read_first(node, number, holders) for node in places.at}
        late = [node for node, first in reached.items() if first]
        chosen = late if places.channels(late) == places.channels(places.at) else places.at
        name = analysis.groups[number].name
        for node in chosen:
            for index in places.at[node]:
                sites.setdefault(
                    (node.name, name, index.numpy().tobytes()), SwitchSite(node.name, name, index)
                )
    order = {node.name: place for place, node in enumerate(analysis.module.graph.nodes)}
    return tuple(sorted(sites.values(), key=lambda site: order[site.node]))


@dataclass
class _Places:
    """Where one group can be scaled.

    Attributes:
        at: nodes, and the group's channels in the value of each.
        again: maps of each channel by itself that follow where it is scaled already.
    """

    at: dict[fx.Node, list[torch.Tensor]] = field(default_factory=lambda: defaultdict(list))
    again: set[fx.Node] = field(default_factory=set)

    def channels(self, nodes: Iterable[fx.Node]) -> set[int]:
        """Numbers of the group's channels that are scaled at these nodes."""
        return {int(n) for node in nodes for index in self.at[node] for n in index.unique()} - {-1}

    def is_read_first(self, node: fx.Node, number: int, holders: _Holders) -> bool:
        """Whether anything reads the channels of ``node`` before a map of ``again`` follows."""
        seen, waiting = set(), [node]
        while waiting:
            for user in waiting.pop().users:
                if user in seen or user in self.again:
                    continue
                seen.add(user)
                if user.op == "output" or holders.reads(user, number):
                    return True
                waiting.append(user)
        return False


def _places(analysis: Analysis, holders: _Holders) -> dict[int, _Places]:
    """By number of the group: behind its producers, and behind what may shift it later."""
    produced: dict[fx.Node, list[tuple[Slot, int]]] = defaultdict(list)
    for node, slot in analysis.context.producers:
        produced[node] += [(slot, number) for number in sorted(holders.groups(slot))]
    found: dict[int, _Places] = defaultdict(_Places)
    scaled: dict[fx.Node, set[int]] = defaultdict(set)
    for node in analysis.module.graph.nodes:
        above = set().union(*(scaled[source] for source in node.all_input_nodes))
        if above:
            scaled[node] |= above & holders.held_by(node)
        wanted = [
            (slot, number, number in above and not holders.mixes(node, number))
            for slot, number in produced.get(node, ())
        ]
        rule = find_rule(node.target) if node.op == "call_function" else None
        if rule is not None and rule.affine:
            slots = [(slot, holders.groups(slot) & above) for slot in analysis.context.of(node)]
            wanted += [(slot, number, True) for slot, both in slots for number in sorted(both)]
        for slot, number, again in wanted:
            places = found[number]
            for last, index in _behind(analysis, node, slot, analysis.groups[number]):
                if not any(torch.equal(index, other) for other in places.at[last]):
                    places.at[last].append(index)
                scaled[last].add(number)
                if again and not (rule is not None and rule.across):
                    places.again.add(node)
    return found


class _Holders:
    """Which groups, by number, have channels where."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._held: dict[fx.Node, set[int]] = {}

    def groups(self, slot: Slot) -> set[int]:
        """Groups that vary along the slot."""
        if not varying(slot):
            return set()
        classes = self._analysis.slot_classes(slot)
        return set(np.unique(self._analysis.group_of_class[classes]).tolist()) - {-1}

    def held_by(self, node: fx.Node) -> set[int]:
        """Groups in the node's value, or in any value of several."""
        if node not in self._held:
            slots = all_labels(self._analysis.context, node)
            self._held[node] = set().union(*map(self.groups, slots))
        return self._held[node]

    def reads(self, node: fx.Node, number: int) -> bool:
        """Whether the node takes in channels of the group other than one by one."""
        rule = find_rule(node.target) if node.op == "call_function" else None
        if rule is not None and rule.across:
            return True
        if number not in self.held_by(node):
            return isinstance(node.meta.get("val"), torch.Tensor | tuple | list)
        return self.mixes(node, number)

    def mixes(self, node: fx.Node, number: int) -> bool:
        """Whether a dense contraction reads the group that it writes (``x + conv(x)``).

        Its index space then holds the channels twice, once as what is summed over.
        """
        products = self._analysis.context.products.get(node, ())
        return any(
            sum(number in self.groups(slot) for slot in product.labels) > 1 for product in products
        )


def _behind(
    analysis: Analysis, node: fx.Node, slot: Slot, group: ChannelGroup
) -> Iterator[tuple[fx.Node, torch.Tensor]]:
    """Where what a producer brings forth can be scaled: nodes, and the group's channels in each."""
    for last in map(_after_affine, _tensors_of(node)):
        sizes = last.meta["val"].shape
        for place in analysis.context.of(last):
            if varying(place) != varying(slot) or any(is_free(sizes[d]) for d in varying(place)):
                continue
            index = positions(analysis, group, place)
            if bool((index >= 0).any()):
                yield last, index


def _tensors_of(node: fx.Node) -> list[fx.Node]:
    """The node, or those that take single tensors out of its value of several."""
    return [node] if is_tensor(node) else [user for user in node.users if is_tensor(user)]


def _after_affine(node: fx.Node) -> fx.Node:
    """The last of the affine per-channel maps that follow the node directly."""
    while len(node.users) == 1:
        user = next(iter(node.users))
        if user.op != "call_function" or not user.args or user.args[0] is not node:
            return node
        rule = find_rule(user.target)
        others = [n for n in user.all_input_nodes if n is not node]
        affine = (rule is not None and rule.affine) or user.target in _AFFINE
        if not affine or any(n.op != "get_attr" for n in others):
            return node
        node = user
    return node
