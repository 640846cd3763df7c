"""Where switches go: behind each producer and the affine that follows, before the nonlinearity.

A switch before a normalisation would be divided away again, or shift against its bias; a switch
after the nonlinearity is not eq. 2 of the paper.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

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
    """One site for every place where a group's channels come forth, all on the group's one switch.

    A producer that only passes on channels which are scaled already (a depthwise convolution) is
    skipped. So is a place whose channels lie along a dimension that grows with the batch.
    """
    sites: dict[tuple[str, str, bytes], SwitchSite] = {}
    holders = _Holders(analysis)
    produced: dict[fx.Node, list[tuple[Slot, int]]] = defaultdict(list)
    for node, slot in analysis.context.producers:
        produced[node] += [(slot, number) for number in sorted(holders.groups(slot))]
    scaled: dict[fx.Node, set[int]] = defaultdict(set)
    for node in analysis.module.graph.nodes:
        above = set().union(*(scaled[source] for source in node.all_input_nodes))
        if above:
            scaled[node] |= above & holders.held_by(node)
        for slot, number in produced.get(node, ()):
            if number in above and not holders.mixes(node, number):
                continue
            group = analysis.groups[number]
            for last, index in _behind(analysis, node, slot, group):
                key = (last.name, group.name, index.numpy().tobytes())
                sites.setdefault(key, SwitchSite(last.name, group.name, index))
                scaled[last].add(number)
    return tuple(sites.values())


class _Holders:
    """Which groups, by number, have channels where."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def groups(self, slot: Slot) -> set[int]:
        """Groups that vary along the slot."""
        if not varying(slot):
            return set()
        classes = self._analysis.slot_classes(slot)
        return set(np.unique(self._analysis.group_of_class[classes]).tolist()) - {-1}

    def held_by(self, node: fx.Node) -> set[int]:
        """Groups in the node's value, or in any value of several."""
        return set().union(*map(self.groups, all_labels(self._analysis.context, node)))

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
