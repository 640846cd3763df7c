"""Channel groups: which parameter dimensions are coupled, and which channels may go."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx
import numpy as np
import torch
from torch import fx

from graphprune.analysis.channels import ChannelGroup, Kind
from graphprune.analysis.forming import form_groups
from graphprune.analysis.rows import close
from graphprune.analysis.settle import Settlement, settle
from graphprune.analysis.shared_rows import (
    Divisions,
    find_divisions,
    kinds,
    of_heads,
    removable,
    whole_heads,
)
from graphprune.analysis.tables import table_producers
from graphprune.graph.values import get_tensor, shape_of
from graphprune.labels.atoms import PinRecord
from graphprune.labels.divided import Divided, Place
from graphprune.labels.propagate import propagate
from graphprune.labels.slots import NONE, Labels, Shape, Slot, varying
from graphprune.rules.context import Context
from graphprune.shrinking.keep import Keep


@dataclass(frozen=True)
class Pin:
    """A parameter dimension of which some or all channels must stay, and why."""

    parameter: str
    dim: int
    channels: int
    reason: str
    node: str
    source: str


@dataclass
class Analysis:
    """What is known of a captured graph's channels. Needs shapes only, no weights.

    Attributes:
        module: the analysed graph.
        context: labels, constraints and contractions, as collected.
        settled: classes of atoms, what is pinned, removal units.
        groups: the channel groups, in graph order.
        kinds: :class:`graphprune.analysis.channels.Kind` by class, int8.
        heads: dimensions of heads whose columns are shared, with their atoms.
    """

    module: fx.GraphModule
    context: Context
    settled: Settlement
    groups: tuple[ChannelGroup, ...] = ()
    kinds: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int8))
    heads: dict[Place, Divided] = field(default_factory=dict)

    @property
    def class_of(self) -> np.ndarray:
        """Class of each atom, int64, shape (atoms + 1,); the last entry, -1, is "none"."""
        return self.settled.class_of

    @property
    def pinned_classes(self) -> np.ndarray:
        """Bool by class."""
        return self.settled.pinned

    def free_atoms(self) -> np.ndarray:
        """Bool by atom, whether it may go; the last entry is that of "none"."""
        found: np.ndarray = np.append(~self.pinned_classes, False)[self.class_of]
        return found

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

    @cached_property
    def group_of_class(self) -> np.ndarray:
        """Number of each class's group, -1 for none; the last entry is that of class -1."""
        numbers = np.full(self.classes + 1, -1)
        for number, group in enumerate(self.groups):
            numbers[group.channels] = number
        return numbers

    def keep(self, classes: np.ndarray) -> Keep:
        """Keep of the classes marked True (bool by class)."""
        classes = close(classes, self.settled.rows, self.settled.pure)
        return Keep(torch.from_numpy(np.append(classes[self.class_of[:-1]], True)))

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
    analysis = _divided(_labelled(module))
    analysis.context.producers += table_producers(analysis)
    analysis.groups = tuple(form_groups(analysis))
    return analysis


def _labelled(module: fx.GraphModule, divisions: Divisions | None = None) -> Analysis:
    context = propagate(module, divisions)
    return Analysis(module, context, settle(module, context))


def _divided(plain: Analysis) -> Analysis:
    """The analysis with rows of shared columns labelled as rows, if nothing is lost by it."""
    found = find_divisions(plain.context, plain.leaves, plain.class_of)
    divisions: Divisions = found
    stuck: set[Place] = set()
    while divisions:
        analysis = _labelled(plain.module, divisions)
        divided = analysis.context.divided
        more = find_divisions(analysis.context, analysis.leaves, analysis.class_of)
        known = divisions.keys() | stuck  # some under another name of the same tensor
        if more := {place: one for place, one in more.items() if place not in known}:
            divisions = divisions | more
            continue
        free = analysis.free_atoms()
        held = {place for place, one in divided.items() if not free[one.rows].any()}
        if not held:
            if removable(analysis.leaves, free) < removable(plain.leaves, plain.free_atoms()):
                break
            places = of_heads(analysis.context, analysis.leaves, analysis.class_of)
            analysis.heads = {place: divided[place] for place in places}
            marks = [
                mark
                for one in analysis.heads.values()
                for mark in ((Kind.COLUMN_OF_MANY, one.columns), (Kind.ROW, one.rows))
            ]
            return _with_kinds(analysis, marks)
        stuck |= held
        divisions = {place: one for place, one in divisions.items() if place not in stuck}
    slots = [s for name, dim in found for s in plain.leaves[name][0] if varying(s) == (dim,)]
    return _with_kinds(plain, [(Kind.COLUMN, slot) for slot in slots])


def _with_kinds(analysis: Analysis, marks: list[tuple[Kind, torch.Tensor]]) -> Analysis:
    heads = whole_heads(analysis.context, analysis.class_of)
    every = [*((Kind.HEAD, atoms) for atoms in heads), *marks]
    analysis.kinds = kinds(analysis.class_of, analysis.classes, every)
    return analysis


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
