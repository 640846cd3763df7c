"""Joining operands: where labels of several tensors meet in one index space, they become equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphprune.labels.slots import Labels, Shape, Slot, clean, first_along, varying

if TYPE_CHECKING:
    from graphprune.rules.context import Context


def _last_first(found: tuple[tuple[int, ...], Slot]) -> int:
    """Key that sorts slots with the dimensions along which they vary by the last of these."""
    return -max(found[0], default=0)


def _same_pattern(one: Slot, other: Slot) -> bool:
    """Whether two slots of one shape have equal channels in the same places.

    Of rows and columns that lie along one dimension, rows meet rows.
    """
    return one.shape == other.shape and bool((_pattern(one) == _pattern(other)).all())


def _pattern(slot: Slot) -> np.ndarray:
    """By place, where its channel comes first; int64, 1-D."""
    _, first, number = np.unique(slot.numpy(), return_index=True, return_inverse=True)
    result: np.ndarray = first[number.reshape(-1)]
    return result


@dataclass
class _Joined:
    """A slot of the joint index space, and along which dimensions each operand carries it."""

    slot: Slot
    carriers: dict[int, set[int]]


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
        self._lines: list[tuple[Slot, Slot]] = []

    def run(self) -> Labels:
        """Labels of the joint index space."""
        apart = self._run_apart()
        return self._run_any() if apart is None else apart

    def _run_apart(self) -> Labels | None:
        """The same where slots vary along the same dimensions or have none in common.

        So it is nearly always, and then each dimension can be looked at by itself. None: it is not
        so, or something has to be locked.
        """
        met: dict[tuple[int, ...], tuple[Slot, set[int]]] = {}
        pairs: list[tuple[Slot, Slot]] = []
        for index, (labels, _) in enumerate(self._operands):
            for dims, slot in sorted(((varying(s), s) for s in labels), key=_last_first):
                first, carriers = met.setdefault(dims, (slot, set()))
                if index in carriers or not dims:
                    return None
                if carriers:
                    pairs.append((slot, first))
                carriers.add(index)
        if sum(map(len, met)) != len(set().union(*met)):
            return None
        for dims, (_, carriers) in met.items():
            for index, (_, shape) in enumerate(self._operands):
                if index not in carriers and any(shape[dim] > 1 for dim in dims):
                    return None
        for slot, first in pairs:
            self._context.unite(slot, first, self._reason)
        return clean([slot for slot, _ in met.values()])

    def _run_any(self) -> Labels:
        for index, (labels, _) in enumerate(self._operands):
            # Slots of one value are never united with each other, only with earlier operands'.
            # Columns before rows: a grid that meets both has the same columns in every row.
            earlier = sorted(self._joined, key=lambda entry: -max(varying(entry.slot), default=0))
            known = [set(varying(entry.slot)) for entry in earlier]
            # Like meets like first: a slot that merely overlaps must not take another's place.
            for slot in sorted(
                labels, key=lambda s: (set(varying(s)) not in known, -max(varying(s), default=0))
            ):
                alike = sorted(earlier, key=lambda entry: not _same_pattern(entry.slot, slot))
                if not any(self._meet(entry, slot, index) for entry in alike):
                    self._joined.append(_Joined(slot, {index: set(varying(slot))}))
        result: list[Slot] = []
        rows: list[Slot] = []
        for entry in self._joined:
            keep: Labels = (entry.slot,)
            for index in range(len(self._operands)):
                keep = self._meet_unlabelled(entry, keep, index)
            for slot in keep:
                (result if slot.shape == entry.slot.shape else rows).append(slot)
        for grid, line in self._lines:
            result = [line if slot is grid else slot for slot in result]
        return clean(self._context.with_rows(result, rows))

    def _meet(self, entry: _Joined, slot: Slot, index: int) -> bool:
        """Whether the slot of operand ``index`` is dealt with by meeting this entry."""
        dims, others = set(varying(slot)), set(varying(entry.slot))
        if not dims & others or index in entry.carriers:
            return False
        if dims == others:
            self._context.unite(slot, entry.slot, self._reason)
        elif dims < others or others < dims:
            entry.slot = self._nest(entry.slot, slot)
        else:
            return False
        entry.carriers[index] = dims
        return True

    def _nest(self, one: Slot, other: Slot) -> Slot:
        """Unite two slots of which one varies along a part of the other's dimensions."""
        inner, outer = sorted((one, other), key=lambda s: len(varying(s)))
        last = max(varying(inner))
        if last == max(varying(outer)):
            self._context.unite(inner, outer, self._reason)  # the same columns in every row
            self._context.shared.append(outer)
            return inner
        rows = self._context.store.rows_of(outer, [d for d in varying(outer) if d > last])
        self._context.unite(inner, rows, self._reason)
        return outer

    def _meet_unlabelled(self, entry: _Joined, labels: Labels, index: int) -> Labels:
        """A labelled dimension meets a full-size one without that label: it cannot shrink."""
        given, shape = self._operands[index]
        reason = f"{self._reason}: meets {self._context.what_is_fixed()}"
        for slot in labels:
            dims = varying(slot)
            bare = {dim for dim in dims if shape[dim] > 1} - entry.carriers.get(index, set())
            for other in given if bare else ():
                bare -= self._share_rows(slot, other)
            if bare and dims[-1] not in bare:
                inner = [dim for dim in dims if dim > max(bare)]
                self._context.pin([self._context.store.rows_of(slot, inner)], reason)
                bare = set()
            if bare:
                labels = self._context.lock(labels, bare, reason)
        return labels

    def _share_rows(self, slot: Slot, other: Slot) -> set[int]:
        """Couple the rows of two grids that overlap; returns the dimensions they have in common."""
        dims, others = set(varying(slot)), set(varying(other))
        common = dims & others
        if not common:
            return common
        if max(common) < min(dims ^ others, default=0):
            store = self._context.store
            rows, beside = store.rows_of(slot, dims - common), store.rows_of(other, others - common)
            self._context.unite(rows, beside, self._reason)
            return common
        if len(common) == 1 and dims != others:  # its elements go from all of both
            lines = [first_along(s, set(varying(s)) - common) for s in (slot, other)]
            for grid, line in zip((slot, other), lines, strict=True):
                self._context.unite(grid, line, self._reason)
                self._lines.append((grid, line))
            self._context.unite(lines[0], lines[1], self._reason)
            return common
        # The other one need not stay as well: it has met, or is still to meet, what carries this.
        self._context.pin([slot], f"{self._reason}: two grids cross")
        return dims
