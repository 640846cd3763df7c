"""Where switches go: behind each producer and the affine that follows, before the nonlinearity.

A switch before a normalisation would be divided away again, or shift against its bias; a switch
after the nonlinearity is not eq. 2 of the paper.
"""

from __future__ import annotations

import torch
from torch import fx

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import positions
from graphprune.labels.slots import Slot, varying
from graphprune.rules.table import find_rule
from graphprune.switches.sites import SwitchSite

aten = torch.ops.aten

# Element-wise maps that are affine where all other operands are parameters (LayerScale, frozen
# batch norm written out).
_AFFINE = (aten.mul.Tensor, aten.add.Tensor, aten.sub.Tensor, aten.div.Tensor)


def switch_sites(analysis: Analysis) -> tuple[SwitchSite, ...]:
    """One site for every place where a group's channels come forth, all on the group's one switch.

    A producer whose input already holds the channels (a depthwise convolution) is skipped: its
    input is scaled, so its output is. So is a place whose channels lie along the first dimension,
    that of the batch (rows of a table of parameters).
    """
    owner: dict[int, ChannelGroup] = {
        int(one): group for group in analysis.groups for one in group.channels
    }
    sites: dict[tuple[str, str, bytes], SwitchSite] = {}
    for node, slot in analysis.context.producers:
        groups = {owner[int(c)].name: owner[int(c)] for c in _channels(analysis, slot, owner)}
        for group in groups.values():
            if _passes_on(analysis, node, group):
                continue
            last = _after_affine(node)
            for place in analysis.context.of(last):
                index = positions(analysis, group, place)
                if bool((index >= 0).any()) and _keeps_batch(index):
                    key = (last.name, group.name, index.numpy().tobytes())
                    sites.setdefault(key, SwitchSite(last.name, group.name, index))
    return tuple(sites.values())


def _channels(analysis: Analysis, slot: Slot, owner: dict[int, ChannelGroup]) -> list[int]:
    return [int(c) for c in set(analysis.slot_classes(slot).reshape(-1).tolist()) if c in owner]


def _keeps_batch(index: torch.Tensor) -> bool:
    return index.ndim > 0 and index.shape[0] == 1


def _passes_on(analysis: Analysis, node: fx.Node, group: ChannelGroup) -> bool:
    """Whether the producer only passes the group's channels on, each to itself (depthwise).

    A dense contraction may also read the group that it writes (``x + conv(x)``); its index space
    then holds the channels twice, once as what is summed over.
    """
    for product in analysis.context.products.get(node, ()):
        if sum(_holds(analysis, slot, group) for slot in product.labels) > 1:
            return False
    for argument in node.all_input_nodes:
        if argument.op == "get_attr":
            continue
        for slot in analysis.context.of(argument):
            if _holds(analysis, slot, group):
                return True
    return False


def _holds(analysis: Analysis, slot: Slot, group: ChannelGroup) -> bool:
    return bool(varying(slot)) and bool((positions(analysis, group, slot) >= 0).any())


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
