"""No tensor may be left without any channel."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from graphprune.analysis.groups import Analysis
from graphprune.labels.slots import Slot, apart
from graphprune.shrinking.rewrite import all_labels


def leaves_something(analysis: Analysis, stays: np.ndarray) -> bool:
    """Whether every tensor keeps a channel; ``stays`` is bool by class."""
    kept = np.append(stays, True)
    return all(kept[analysis.slot_classes(slot)].any() for slot in _slots(analysis)) and all(
        kept[met].all(axis=1).any() for met in _crossings(analysis)
    )


def _slots(analysis: Analysis) -> Iterable[Slot]:
    nodes = analysis.module.graph.nodes
    slots = [slot for node in nodes for slot in all_labels(analysis.context, node)]
    slots += analysis.context.store.grids.values()
    return {id(slot): slot for slot in slots}.values()


def _crossings(analysis: Analysis) -> list[np.ndarray]:
    """Of tensors labelled twice along a dimension, the classes of each element, unique, (n, k).

    An element is there if all of its classes are. Rows may be left, and columns, but none of the
    columns that these rows have. Where every row has every column, that cannot be.
    """
    found: dict[bytes, np.ndarray] = {}
    for slots in _crossing_slots(analysis) if analysis.context.divisions else ():
        laid = np.broadcast_arrays(*(analysis.slot_classes(slot) for slot in slots))
        met = np.unique(np.stack([one.reshape(-1) for one in laid], axis=1), axis=0)
        if len(met) < math.prod(np.unique(column).size for column in met.T):
            found.setdefault(met.tobytes(), met)
    return list(found.values())


def _crossing_slots(analysis: Analysis) -> Iterator[list[Slot]]:
    """Slots that vary along the same dimensions, of every tensor that has several such."""
    for labels in analysis.context.labels.values():
        for each in labels if isinstance(labels, list) else [labels]:
            yield from (slots for slots in apart(each) if len(slots) > 1)


class Guard:
    """Refuses a removal that would leave a tensor without any channel."""

    def __init__(self, analysis: Analysis) -> None:
        groups: dict[bytes, np.ndarray] = {}
        for slot in _slots(analysis):
            # Rows of a grid lose equally many, so none is empty before all of them are.
            found = np.unique(analysis.slot_classes(slot))
            groups.setdefault(found.tobytes(), found)
        pinned = analysis.pinned_classes
        tensors = [g for g in groups.values() if not (g < 0).any() and not pinned[g].any()]
        self._of: dict[int, list[int]] = {}
        self._left = [int(g.size) for g in tensors]
        for number, classes in enumerate(tensors):
            for one in classes.tolist():
                self._of.setdefault(one, []).append(number)
        self._crossings = _crossings(analysis)
        self._there = np.ones(analysis.classes + 1, dtype=bool)

    def remove(self, classes: Sequence[int]) -> bool:
        """Take classes that are there away if every tensor keeps one; says whether it did."""
        lost: dict[int, int] = {}
        for one in classes:
            for number in self._of.get(one, ()):
                lost[number] = lost.get(number, 0) + 1
        if any(self._left[number] - n < 1 for number, n in lost.items()):
            return False
        if self._crossings:
            there = self._there.copy()
            there[list(classes)] = False
            if not all(there[met].all(axis=1).any() for met in self._crossings):
                return False
            self._there = there
        for number, n in lost.items():
            self._left[number] -= n
        return True

    def copy(self) -> Guard:
        """A guard that has removed what this one has, and goes on by itself."""
        other = copy.copy(self)
        other._left = list(self._left)
        return other
