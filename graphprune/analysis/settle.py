"""Settle the constraints that labels have met: classes of atoms, what is pinned, removal units.

Where rows of a grid cannot lose channels each of its own, they are made to lose the same columns;
only where that fails as well do the channels stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import fx

from graphprune.analysis.dryrun import DryRun
from graphprune.analysis.row_units import removable_rows
from graphprune.analysis.rows import (
    RowClasses,
    all_rows,
    close,
    pin_rows,
    row_classes,
    rows_together,
    standing_classes,
)
from graphprune.analysis.units import Block, solve_blocks, true_grids
from graphprune.graph.values import source_line
from graphprune.labels.atoms import PinRecord, Rows
from graphprune.labels.slots import Identity, Slot, first_along, identity, varying
from graphprune.rules.context import Context
from graphprune.shrinking.rewrite import all_labels

_DRAWS = 3
"""Dry runs before analysis trusts the grids; each keeps another random half of every row."""

_WITHOUT_CHANNELS = "meets a part without channels"


@dataclass
class Settlement:
    """Classes of atoms and their removal units.

    Attributes:
        class_of: class of each atom, int64, shape (atoms + 1,); the last entry, -1, is "none".
        pinned: bool by class.
        blocks: channels that are removed in step across the rows of grids.
        rows: what stands for whole rows of grids, and their members.
        pure: bool by class, whether no parameter or buffer holds it, so that it follows its rows.
        row_units: classes that go with a whole row, one tuple for each that may go.
    """

    class_of: np.ndarray
    pinned: np.ndarray
    rows: list[RowClasses]
    pure: np.ndarray
    blocks: list[Block] = field(default_factory=list)
    row_units: list[tuple[int, ...]] = field(default_factory=list)

    def matrix(self, slot: Slot) -> np.ndarray:
        """Classes of a slot as (rows, columns), its last varying dimension as columns."""
        classes: np.ndarray = self.class_of[slot.numpy()]
        return classes.reshape(-1, slot.shape[varying(slot)[-1]])


def settle(module: fx.GraphModule, context: Context) -> Settlement:
    """Solve all constraints of a labelled graph. Adds equalities and pins to ``context.store``."""
    settling = _Settling(module, context)
    while True:
        found = settling.classes()
        if settling.solve(found) and settling.fits(found):
            return found


class _Settling:
    """One run of :func:`settle`: every step either succeeds or adds a constraint, so it ends."""

    def __init__(self, module: fx.GraphModule, context: Context) -> None:
        self._module = module
        self._context = context
        self._coupled: set[Identity] = set()
        self._whole: set[Identity] = set()
        self._trial: DryRun | None = None

    def classes(self) -> Settlement:
        """Classes and pins of the equalities known so far."""
        store = self._context.store
        every_row = all_rows(store)
        while True:
            _, classes = np.unique(store.roots(), return_inverse=True)
            class_of = np.append(classes.astype(np.int64), -1)
            if not self._unite_rows(every_row, class_of):
                break
        pinned = np.zeros(int(classes.max()) + 1 if classes.size else 0, dtype=bool)
        for record in store.pins:
            pinned[class_of[record.atoms.numpy()]] = True
        rows = row_classes(store, class_of)
        pin_rows(pinned, rows)
        pure = np.ones(pinned.size, dtype=bool)
        pure[class_of[:-1][store.owned()]] = False
        return Settlement(class_of, pinned, rows, pure)

    def _unite_rows(self, every_row: list[Rows], class_of: np.ndarray) -> bool:
        """Rows of the same channels are the same, and a row of one channel is that channel.

        Says whether any was not known to be.
        """
        known: dict[bytes, tuple[int, int]] = {}
        pairs = []
        for found in every_row:
            members = np.sort(class_of[found.members.numpy()], axis=1)
            lone = (members[:, 0] >= 0) & (members == members[:, :1]).all(axis=1)
            atoms = found.atoms.numpy()
            columns = (class_of[atoms], _as_bytes(members), members[:, 0], lone)
            for atom, one, row, first, alone in zip(
                atoms.tolist(), *(column.tolist() for column in columns), strict=True
            ):
                if atom < 0:
                    continue
                twin, other = known.setdefault(row, (atom, one))
                if other != one:
                    pairs.append((atom, twin))
                if alone and first != one:
                    pairs.append((atom, int(np.flatnonzero(class_of[:-1] == first)[0])))
        if pairs:
            left, right = torch.tensor(pairs).unbind(1)
            self._context.store.unite(left, right)
        return bool(pairs)

    def solve(self, found: Settlement) -> bool:
        """Find the removal units; False where new equalities call for another round."""
        slots = list(self._context.store.grids.values())
        grids, mixed = true_grids(found.matrix(slot) for slot in slots)
        # Where some rows go whole or not at all, so must the others.
        news = [self._keep_rows_whole(slots[number], found) for number in mixed]
        if any(news):
            return False
        standing = standing_classes(found.rows)
        for grid in grids:
            uneven = np.intersect1d(grid.matrix, standing)
            self._pin(found, uneven, "whole rows of a grid of rows stay")
        grids = [grid for grid in grids if not np.isin(grid.matrix, standing).all()]
        while True:  # pinning one component's leftovers may unbalance another
            found.blocks, stuck = solve_blocks(grids, found.pinned)
            if not stuck:
                found.row_units, rigid = removable_rows(found.blocks, found.rows, found.pinned)
                held = np.array(sorted(rigid), dtype=np.int64)
                if not self._pin(found, held, "whole rows (heads, groups) stay"):
                    return True
                continue
            for component in stuck:
                if self._couple_first([slots[number] for number in component.sources], found):
                    return False
            for component in stuck:
                classes = np.array(component.classes, dtype=np.int64)
                self._pin(found, classes, "rows of a grid cannot be shortened evenly")

    def fits(self, found: Settlement) -> bool:
        """Whether data movement keeps the order of channels when rows keep different ones.

        False where new constraints call for another round.
        """
        blocks = [block for block in found.blocks if len(block.cells) > 1]
        if not blocks:
            return True
        if self._trial is None:
            self._trial = DryRun(self._module, self._context)
        rng = np.random.default_rng(0)
        together = rows_together(blocks, found.row_units)
        for _ in range(_DRAWS):
            columns = _half_of(blocks, found.pinned.size, rng)
            kept = columns.copy()
            for units in together:
                for number in rng.permutation(len(units))[: len(units) // 2]:
                    kept[list(units[number])] = False
            if not (wrong := self._misfits(found, kept)):
                continue
            repair = self._fix_rows
            if found.row_units and (without_rows := self._misfits(found, columns)):
                wrong, repair = without_rows, self._repair
            elif not found.row_units:
                repair = self._repair
            if self._repair_each(wrong, repair, found):
                return False
        return True

    def _misfits(self, found: Settlement, kept: np.ndarray) -> list[fx.Node]:
        assert self._trial is not None
        atoms = close(kept, found.rows, found.pure)[found.class_of[:-1]]
        return self._trial.misfits(torch.from_numpy(np.append(atoms, True)))

    def _repair_each(
        self,
        wrong: list[fx.Node],
        repair: Callable[[fx.Node, Settlement], bool],
        found: Settlement,
    ) -> bool:
        """Repair the first misfit, and those that share no channels with repaired ones."""
        in_step = [{one for cell in b.cells for one in cell} for b in found.blocks]
        touched: set[int] = set()
        repaired = False
        for node in wrong:
            met = self._met_by(node, found)
            if not met & touched and repair(node, found):
                repaired = True
                touched |= met.union(*(classes for classes in in_step if classes & met))
        return repaired

    def _met_by(self, node: fx.Node, found: Settlement) -> set[int]:
        """Classes of a data movement's source and results."""
        source = node.args[0] if node.args else None
        nodes = [node, source] if isinstance(source, fx.Node) else [node]
        slots = [slot for one in nodes for slot in all_labels(self._context, one)]
        return {int(one) for slot in slots for one in np.unique(found.class_of[slot.numpy()])}

    def _fix_rows(self, wrong: fx.Node, found: Settlement) -> bool:
        """Keep all rows whose removal a node would not survive; whether any was free before."""
        met = self._met_by(wrong, found)
        units = [unit for unit in found.row_units if met & set(unit)] or found.row_units
        classes = {one for unit in units for one in unit}
        heads = {
            row
            for rows in found.rows
            for row, members in zip(rows.rows.tolist(), rows.members, strict=True)
            if row >= 0 and classes.issuperset(members.tolist())
        }
        reason = f"{wrong.name} would not survive the removal of whole rows"
        return self._pin(found, np.array(sorted(heads), dtype=np.int64), reason, wrong)

    def _repair(self, wrong: fx.Node, found: Settlement) -> bool:
        """Make the rows that meet at a node keep the same columns, or stay; whether it could."""
        source = wrong.args[0]
        assert isinstance(source, fx.Node)
        slots = [*all_labels(self._context, source), *all_labels(self._context, wrong)]
        if self._couple_first([slot for slot in slots if len(varying(slot)) > 1], found):
            return True
        in_step = {one for block in found.blocks for cell in block.cells for one in cell}
        doomed = np.array(sorted(self._met_by(wrong, found) & in_step), dtype=np.int64)
        reason = f"{wrong.name} would change the order of channels"
        return self._pin(found, doomed, reason, wrong)

    def _couple_first(self, slots: Sequence[Slot], found: Settlement) -> bool:
        """Unite the columns of the first of these grids that still has different ones by row."""
        for slot in slots:
            key = identity(slot)
            matrix = found.matrix(slot)
            if key in self._coupled or bool((matrix == matrix[:1]).all()):
                continue
            self._coupled.add(key)
            self._unite(slot, first_along(slot, varying(slot)[:-1]))
            return True
        return False

    def _keep_rows_whole(self, slot: Slot, found: Settlement) -> bool:
        """Unite the columns of every row; whether that was new.

        A row with an element without channels cannot be united, so it stays as it is.
        """
        key = identity(slot)
        if key not in self._whole:
            self._whole.add(key)
            self._unite(slot, first_along(slot, varying(slot)[-1:]))
            return True
        matrix = found.matrix(slot)
        apart = matrix[(matrix != matrix[:, :1]).any(axis=1)]
        return self._pin(found, apart.reshape(-1), _WITHOUT_CHANNELS)

    def _unite(self, slot: Slot, first: Slot) -> None:
        lonely = self._context.store.unite(slot, first)
        self._context.store.pin(PinRecord(lonely, _WITHOUT_CHANNELS, "", ""))

    def _pin(
        self, found: Settlement, classes: np.ndarray, reason: str, node: fx.Node | None = None
    ) -> bool:
        """Pin classes, with the reason for people; whether any was free before."""
        fresh = np.unique(classes[classes >= 0])
        fresh = fresh[~found.pinned[fresh]]
        if not fresh.size:
            return False
        found.pinned[fresh] = True
        atoms = np.flatnonzero(np.isin(found.class_of[:-1], fresh))
        name, line = (node.name, source_line(node)) if node is not None else ("", "")
        self._context.store.pin(PinRecord(torch.from_numpy(atoms), reason, name, line))
        return True


def _as_bytes(rows: np.ndarray) -> np.ndarray:
    """Each row of a matrix as one value, shape (rows,)."""
    rows = np.ascontiguousarray(rows)
    result: np.ndarray = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).reshape(-1)
    return result


def _half_of(blocks: list[Block], classes: int, rng: np.random.Generator) -> np.ndarray:
    """Bool by class: every block loses half of its units, each cell other ones of its own."""
    kept = np.ones(classes, dtype=bool)
    for block in blocks:
        lost = block.units // 2
        for cell in block.cells:
            kept[rng.permutation(np.array(cell))[:lost]] = False
    return kept
