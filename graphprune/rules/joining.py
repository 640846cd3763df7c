"""Joining operands: where labels of several tensors meet in one index space, they become equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphprune.labels.slots import Labels, Shape, Slot, clean, varying

if TYPE_CHECKING:
    from graphprune.rules.context import Context


@dataclass
class _Joined:
    """A slot of the joint index space, and the operands whose elements carry it."""

    slot: Slot
    carriers: set[int]


class Join:
    """Broadcasts operands of equal rank against each other and makes their labels agree.

    Args:
        context: where equalities and pins go.
        operands: (labels, shape) of each; shapes broadcast against each other.
        reason: why, should something have to be pinned.
    """

    def __init__(
        self, context: Context, operands: Sequence[tuple[Labels, Shape]], reason: str
    ) -> None:
        self._context = context
        self._operands = operands
        self._reason = reason
        self._joined: list[_Joined] = []

    def run(self) -> Labels:
        """Labels of the joint index space."""
        for index, (labels, _) in enumerate(self._operands):
            # Slots of one value are never united with each other, only with earlier operands'.
            earlier = list(self._joined)
            known = [set(varying(entry.slot)) for entry in earlier]
            # Like meets like first: a slot that merely overlaps must not take another's place.
            for slot in sorted(labels, key=lambda s: set(varying(s)) not in known):
                if not any(self._meet(entry, slot, index) for entry in earlier):
                    self._joined.append(_Joined(slot, {index}))
        result: list[Slot] = []
        for entry in self._joined:
            keep: Labels = (entry.slot,)
            for index, (_, shape) in enumerate(self._operands):
                if index not in entry.carriers:
                    keep = self._meet_unlabelled(keep, shape)
            result.extend(keep)
        return clean(result)

    def _meet(self, entry: _Joined, slot: Slot, index: int) -> bool:
        """Whether the slot of operand ``index`` is dealt with by meeting this entry."""
        dims, others = set(varying(slot)), set(varying(entry.slot))
        common = dims & others
        if not common or index in entry.carriers:
            return False
        if dims == others:
            self._context.unite(slot, entry.slot, self._reason)
            entry.carriers.add(index)
            return True
        if dims < others or others < dims:
            self._nest(entry, slot, index)
            return True
        if max(common) < min((dims | others) - common):
            self._context.store.fix_rows(slot)
            self._context.store.fix_rows(entry.slot)
            return False
        self._context.pin([slot, entry.slot], f"{self._reason}: two grids cross")
        return True

    def _nest(self, entry: _Joined, slot: Slot, index: int) -> None:
        """One of the two slots varies along a part of the other's dimensions."""
        inner, outer = sorted((slot, entry.slot), key=lambda s: len(varying(s)))
        entry.carriers.add(index)
        if max(varying(outer)) in varying(inner):
            self._context.unite(inner, outer, self._reason)  # the same columns in every row
            entry.slot = inner
            return
        self._context.pin([inner], f"{self._reason}: whole rows of a grid stay")
        self._context.store.fix_rows(outer)
        # An operand labelled by row alone carries the columns only if it is broadcast along them.
        extra = set(varying(outer)) - set(varying(inner))
        by_row = {index} if inner is slot else entry.carriers - {index}
        full = {i for i in by_row if any(self._operands[i][1][dim] > 1 for dim in extra)}
        entry.carriers -= full
        entry.slot = outer

    def _meet_unlabelled(self, labels: Labels, shape: Shape) -> Labels:
        """A labelled dimension meets a full-size one without that label: it cannot shrink."""
        for slot in labels:
            dims = varying(slot)
            bare = [dim for dim in dims if shape[dim] > 1]
            if bare and len(dims) > 1 and dims[-1] not in bare:
                self._context.store.fix_rows(slot)  # only rows are met, and rows stay anyway
                bare = []
            labels = self._context.lock(
                labels, bare, f"{self._reason}: meets a tensor of fixed size"
            )
        return labels
