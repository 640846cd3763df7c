"""Channel groups: which parameter dimensions are coupled, and which channels may go."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
import torch
from torch import fx

from graphprune.keep import Keep
from graphprune.labels.atoms import PinRecord
from graphprune.labels.propagate import propagate
from graphprune.labels.slots import NONE, Labels, Shape, Slot, varying
from graphprune.rules.context import Context
from graphprune.settle import settle
from graphprune.units import Block
from graphprune.values import get_tensor, shape_of


@dataclass(frozen=True)
class Member:
    """One dimension of one parameter or buffer."""

    parameter: str
    dim: int


@dataclass(frozen=True)
class Pin:
    """A parameter dimension of which some or all channels must stay, and why."""

    parameter: str
    dim: int
    channels: int
    reason: str
    node: str
    source: str


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are weighed against each other and pruned together across the graph.

    Attributes:
        name: the first parameter that brings the channels forth.
        channels: classes of atoms, one per channel, int64, shape (D,).
        members: every parameter dimension that holds some of the channels.
        blocks: removal units; see :class:`graphprune.units.Block`.
    """

    name: str
    channels: np.ndarray
    members: tuple[Member, ...]
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Number of channels D."""
        return int(self.channels.size)


@dataclass
class Analysis:
    """What is known of a captured graph's channels. Needs shapes only, no weights.

    Attributes:
        module: the analysed graph.
        context: labels, constraints and contractions, as collected.
        class_of: class of each atom, int64, shape (atoms + 1,); the last entry, -1, is "none".
        pinned_classes: bool by class.
        groups: the channel groups, in graph order.
    """

    module: fx.GraphModule
    context: Context
    class_of: np.ndarray
    pinned_classes: np.ndarray
    groups: tuple[ChannelGroup, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes of atoms."""
        return int(self.pinned_classes.size)

    @cached_property
    def leaves(self) -> dict[str, tuple[Labels, Shape]]:
        """Labels and shape of every parameter and buffer that the graph reads, by qualified name.

        A tensor that goes by several names is there under each of them.
        """
        found: dict[str, tuple[Labels, Shape]] = {}
        names: dict[int, str] = {}
        for node in self.module.graph.find_nodes(op="get_attr"):
            if isinstance(node.meta.get("val"), torch.Tensor):
                name = str(node.target)
                found[name] = (self.context.of(node), shape_of(node))
                names.setdefault(id(get_tensor(self.module, name)), name)
        for name, tensor in itertools.chain(
            self.module.named_parameters(remove_duplicate=False),
            self.module.named_buffers(remove_duplicate=False),
        ):
            if id(tensor) in names:
                found.setdefault(name, found[names[id(tensor)]])
        return found

    @cached_property
    def by_name(self) -> dict[str, ChannelGroup]:
        """Groups by name."""
        return {group.name: group for group in self.groups}

    def keep(self, classes: np.ndarray) -> Keep:
        """Keep of the classes marked True (bool by class)."""
        atoms = np.append(classes[self.class_of[:-1]], True)
        return Keep(torch.from_numpy(atoms))

    def slot_classes(self, slot: Slot) -> np.ndarray:
        """Classes of a slot's elements, -1 where there is none; shape of the slot."""
        found: np.ndarray = self.class_of[slot.numpy()]
        return found

    @cached_property
    def graph(self) -> nx.Graph:
        """Coupled parameter dimensions: nodes ``(parameter, dim)``, edges with their ``ops``."""
        graph = nx.Graph()
        for group in self.groups:
            for member in group.members:
                graph.add_node((member.parameter, member.dim), group=group.name)
        for left, right, node in sorted(self.context.store.couplings()):
            if left in graph and right in graph:
                ops = graph.edges[left, right]["ops"] if graph.has_edge(left, right) else ()
                graph.add_edge(left, right, ops=(*ops, node))
        return graph

    @cached_property
    def pinned(self) -> tuple[Pin, ...]:
        """Parameter dimensions that are (partly) left alone, with the first reason found."""
        return tuple(_explain_pins(self))


def analyse(module: fx.GraphModule) -> Analysis:
    """Find the channel groups of a captured graph.

    Args:
        module: ``Captured.module``, or any graph of ATen calls with fake tensors as values.
    """
    context = propagate(module)
    settled = settle(module, context)
    analysis = Analysis(module, context, settled.class_of, settled.pinned)
    analysis.groups = tuple(_form_groups(analysis, settled.blocks))
    return analysis


def _form_groups(analysis: Analysis, blocks: list[Block]) -> list[ChannelGroup]:
    """Link channels that one producer brings forth, or one block removes in step."""
    links = nx.Graph()
    first_name: dict[int, str] = {}
    for number, (node, slot) in enumerate(analysis.context.producers):
        classes = _free(analysis, slot)
        links.add_edges_from((("producer", number), int(one)) for one in classes)
        name = _weight_name(node)
        for one in classes:
            first_name.setdefault(int(one), name)
    for number, block in enumerate(blocks):
        links.add_edges_from((("block", number), one) for cell in block.cells for one in cell)
    members: dict[int, list[Member]] = defaultdict(list)
    for name, (labels, _) in analysis.leaves.items():
        for slot in labels:
            vary = varying(slot)
            if vary:
                for one in _free(analysis, slot):
                    members[int(one)].append(Member(name, vary[-1]))
    groups = []
    for component in nx.connected_components(links):
        channels = np.array(sorted(one for one in component if isinstance(one, int | np.integer)))
        # Channels that no parameter holds (a border of zeros) cost nothing: they follow others.
        channels = np.array([one for one in channels if members.get(int(one))], dtype=np.int64)
        if not channels.size:
            continue
        own = dict.fromkeys(member for one in channels for member in members[int(one)])
        names = [first_name[int(one)] for one in channels if int(one) in first_name]
        stepped = [blocks[n] for kind, n in _tagged(component) if kind == "block"]
        in_step = {one for block in stepped for cell in block.cells for one in cell}
        free = [Block(((int(one),),)) for one in channels if int(one) not in in_step]
        name = names[0] if names else next(iter(own)).parameter
        groups.append(ChannelGroup(name, channels, tuple(own), (*stepped, *free)))
    return _in_graph_order(analysis, groups)


def _tagged(component: set[object]) -> list[tuple[str, int]]:
    return sorted(item for item in component if isinstance(item, tuple))


def _free(analysis: Analysis, slot: Slot) -> np.ndarray:
    classes = np.unique(analysis.slot_classes(slot))
    classes = classes[classes >= 0]
    free: np.ndarray = classes[~analysis.pinned_classes[classes]]
    return free


def _weight_name(node: fx.Node) -> str:
    """Name of the parameter that a producing node multiplies with or looks up."""
    for argument in reversed(node.all_input_nodes[:2]):
        if argument.op == "get_attr":
            return str(argument.target)
    for argument in node.all_input_nodes:
        if argument.op == "get_attr":
            return str(argument.target)
    return node.name


def _in_graph_order(analysis: Analysis, groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """Order by the first producer, and make names unique."""
    position: dict[int, int] = {}
    for number, (_, slot) in enumerate(analysis.context.producers):
        for one in _free(analysis, slot):
            position.setdefault(int(one), number)
    last = len(analysis.context.producers)
    groups = sorted(groups, key=lambda g: min(position.get(int(c), last) for c in g.channels))
    seen: dict[str, int] = {}
    result = []
    for group in groups:
        seen[group.name] = seen.get(group.name, 0) + 1
        times = seen[group.name]
        name = group.name if times == 1 else f"{group.name}#{times}"
        result.append(ChannelGroup(name, group.channels, group.members, group.blocks))
    return result


def _explain_pins(analysis: Analysis) -> list[Pin]:
    reasons: dict[int, PinRecord] = {}
    for record in analysis.context.store.pins:
        for one in np.unique(analysis.class_of[record.atoms.numpy()]):
            reasons.setdefault(int(one), record)
    pins = []
    for name, (labels, shape) in analysis.leaves.items():
        for slot in labels:
            vary = varying(slot)
            classes = np.unique(analysis.slot_classes(slot))
            held = [int(c) for c in classes if c != NONE and analysis.pinned_classes[c]]
            found = [reasons[one] for one in held if one in reasons]
            if vary and found and len(shape) > vary[-1]:
                why = found[0]
                pins.append(Pin(name, vary[-1], len(held), why.reason, why.node, why.source))
    return pins
