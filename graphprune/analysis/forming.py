"""Forming channel groups: channels that one producer brings forth, or that are removed in step."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import fx

from graphprune.analysis.channels import ChannelGroup, Kind, Member
from graphprune.analysis.units import Block
from graphprune.labels.slots import Slot, varying

if TYPE_CHECKING:
    from graphprune.analysis.groups import Analysis


def form_groups(analysis: Analysis) -> list[ChannelGroup]:
    """Groups in graph order, each name once."""
    forming = _Forming(analysis)
    groups = [forming.group(channels) for channels in forming.components()]
    groups.sort(key=lambda found: found[0])
    times: Counter[str] = Counter()
    result = []
    for _, group in groups:
        times[group.name] += 1
        again = times[group.name]
        result.append(group if again == 1 else replace(group, name=f"{group.name}#{again}"))
    return result


class _Forming:
    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        settled = analysis.settled
        self._producers = [free_classes(analysis, s) for _, s in analysis.context.producers]
        cells = [np.concatenate([np.array(c) for c in block.cells]) for block in settled.blocks]
        self._in_cell = np.zeros(analysis.classes, dtype=bool)
        self._row_of = np.full(analysis.classes, -1)
        for classes in cells:
            self._in_cell[classes] = True
        rows = [np.array(unit) for unit in settled.row_units]
        for number, row in enumerate(rows):
            self._row_of[row] = number
        # What stands for a row follows the first of its cells.
        heads = [np.append(row[self._in_cell[row]][:1], row[~self._in_cell[row]]) for row in rows]
        self._links = [*self._producers, *cells, *heads]
        self._position = np.full(analysis.classes, len(self._producers))
        for number, classes in reversed(list(enumerate(self._producers))):
            self._position[classes] = number
        self._blocks: dict[int, list[Block]] = defaultdict(list)
        self._linked = np.zeros(analysis.classes, dtype=bool)
        for classes in self._links:
            self._linked[classes] = True
        self._component = self._connect()
        for block, classes in zip(settled.blocks, cells, strict=True):
            self._blocks[int(self._component[classes[0]])].append(block)
        self._members: dict[int, dict[Member, None]] = defaultdict(dict)
        self._held = np.zeros(analysis.classes, dtype=bool)
        self._find_members()

    def _connect(self) -> np.ndarray:
        """Component of each class."""
        left = [classes[:-1] for classes in self._links if classes.size > 1]
        right = [classes[1:] for classes in self._links if classes.size > 1]
        size = self._analysis.classes
        if not left:
            return np.arange(size)
        edges = (np.concatenate(left), np.concatenate(right))
        matrix = coo_matrix((np.ones(edges[0].size, dtype=np.int8), edges), shape=(size, size))
        component: np.ndarray = connected_components(matrix, directed=False)[1]
        return component

    def _find_members(self) -> None:
        for name, (labels, _) in self._analysis.leaves.items():
            for slot in labels:
                if vary := varying(slot):
                    classes = free_classes(self._analysis, slot)
                    self._held[classes[~self._stands(classes)]] = True
                    member = Member(name, vary[-1])
                    for component in set(self._component[classes[self._linked[classes]]].tolist()):
                        self._members[component][member] = None

    def _stands(self, classes: np.ndarray) -> np.ndarray:
        """Whether each is a row of shared columns that stands for a row of a grid."""
        found: np.ndarray = (self._analysis.kinds[classes] == Kind.ROW) & (
            self._row_of[classes] >= 0
        )
        return found

    def components(self) -> list[np.ndarray]:
        """Channels of each component. Those that no parameter holds cost nothing and follow."""
        channels = np.flatnonzero(self._linked & self._held)
        order = np.argsort(self._component[channels], kind="stable")
        channels = channels[order]
        cuts = np.flatnonzero(np.diff(self._component[channels])) + 1
        return np.split(channels, cuts) if channels.size else []

    def group(self, channels: np.ndarray) -> tuple[int, ChannelGroup]:
        """The group of a component's channels, after its place in the graph."""
        component = int(self._component[channels[0]])
        members = tuple(self._members[component])
        places = self._position[channels]
        named = places[places < len(self._producers)]
        name = members[0].parameter
        if named.size:
            name = _weight_name(self._analysis.context.producers[int(named[0])][0])
        rows: dict[int, list[int]] = defaultdict(list)
        rowed = channels[self._row_of[channels] >= 0]
        for one, row in zip(rowed.tolist(), self._row_of[rowed].tolist(), strict=True):
            rows[row].append(one)
        alone = channels[~self._in_cell[channels] & (self._row_of[channels] < 0)]
        in_step = tuple(self._blocks[component])
        whole = tuple(tuple(row) for row in rows.values())
        kinds = self._analysis.kinds[alone]
        group = ChannelGroup(name, channels, members, alone, kinds, in_step, whole)
        return int(places.min()), group


def free_classes(analysis: Analysis, slot: Slot) -> np.ndarray:
    """Classes of a slot's channels that are not pinned, perhaps several times."""
    classes = analysis.slot_classes(slot).reshape(-1)
    classes = classes[classes >= 0]
    free: np.ndarray = classes[~analysis.pinned_classes[classes]]
    return free


def _weight_name(node: fx.Node) -> str:
    """Name of the parameter that a producing node is, multiplies with or looks up."""
    for argument in (node, *reversed(node.all_input_nodes[:2])):
        if argument.op == "get_attr":
            return str(argument.target)
    for argument in node.all_input_nodes:
        if argument.op == "get_attr":
            return str(argument.target)
    return node.name
