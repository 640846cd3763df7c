"""No tensor may be left without any channel."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np

from graphprune.analysis.groups import Analysis
from graphprune.labels.slots import Slot
from graphprune.shrinking.rewrite import all_labels


def leaves_something(analysis: Analysis, stays: np.ndarray) -> bool:
    """Whether every tensor keeps a channel; ``stays`` is bool by class."""
    kept = np.append(stays, True)
    return all(kept[analysis.slot_classes(slot)].any() for slot in _slots(analysis))


def _slots(analysis: Analysis) -> Iterable[Slot]:
    nodes = analysis.module.graph.nodes
    slots = [slot for node in nodes for slot in all_labels(analysis.context, node)]
    slots += analysis.context.store.grids.values()
    return {id(slot): slot for slot in slots}.values()


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

    def remove(self, classes: Sequence[int]) -> bool:
        """Take classes that are there away if every tensor keeps one; says whether it did."""
        lost: dict[int, int] = {}
        for one in classes:
            for number in self._of.get(one, ()):
                lost[number] = lost.get(number, 0) + 1
        if any(self._left[number] - n < 1 for number, n in lost.items()):
            return False
        for number, n in lost.items():
            self._left[number] -= n
        return True

    def copy(self) -> Guard:
        """A guard that has removed what this one has, and goes on by itself."""
        other = copy.copy(self)
        other._left = list(self._left)
        return other
