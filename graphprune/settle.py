"""Settle the constraints that labels have met: classes of atoms, what is pinned, removal units.

Where rows of a grid cannot lose channels each of its own, they are made to lose the same columns;
only where that fails as well do the channels stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from graphprune.keep import Keep, NotRectangularError
from graphprune.labels.atoms import PinRecord
from graphprune.labels.slots import Slot, first_along, varying
from graphprune.rewrite import Rewriter, all_labels, misplaced, rewrite_node
from graphprune.rules.context import Context
from graphprune.units import Block, solve_blocks, true_grids
from graphprune.values import source_line

_DRAWS = 3
"""Dry runs before analysis trusts the grids; each keeps another random half of every row."""


@dataclass
class Settlement:
    """Classes of atoms and their removal units.

    Attributes:
        class_of: class of each atom, int64, shape (atoms + 1,); the last entry, -1, is "none".
        pinned: bool by class.
        blocks: channels that are removed in step across the rows of grids.
    """

    class_of: np.ndarray
    pinned: np.ndarray
    blocks: list[Block]

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
        self._coupled: set[tuple[tuple[int, ...], bytes]] = set()

    def classes(self) -> Settlement:
        """Classes and pins of the equalities known so far."""
        roots = self._context.store.roots()
        _, classes = np.unique(roots, return_inverse=True)
        class_of = np.append(classes.astype(np.int64), -1)
        pinned = np.zeros(int(classes.max()) + 1 if classes.size else 0, dtype=bool)
        for record in self._context.store.pins:
            pinned[class_of[record.atoms.numpy()]] = True
        return Settlement(class_of, pinned, [])

    def solve(self, found: Settlement) -> bool:
        """Find the removal units; False where new equalities call for another round."""
        store = self._context.store
        for slot in store.fixed_rows:
            matrix = found.matrix(slot)
            whole_rows = (matrix == matrix[:, :1]).all(axis=1)
            self._pin(found, matrix[whole_rows, 0], "whole rows (heads, groups) stay")
        slots = list(store.grids.values())
        grids, mixed = true_grids(found.matrix(slot) for slot in slots)
        self._pin(
            found, np.array(sorted(mixed), dtype=np.int64), "rows of a grid are of unlike kinds"
        )
        while True:  # pinning one component's leftovers may unbalance another
            found.blocks, stuck = solve_blocks(grids, found.pinned)
            if not stuck:
                return True
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
        rng = np.random.default_rng(0)
        for _ in range(_DRAWS):
            kept = np.append(_half_of(blocks, found.pinned.size, rng)[found.class_of[:-1]], True)
            wrong = _first_misfit(self._module, self._context, Keep(torch.from_numpy(kept)))
            if wrong is not None and self._repair(wrong, found):
                return False
        return True

    def _repair(self, wrong: fx.Node, found: Settlement) -> bool:
        """Make the rows that meet at a node keep the same columns, or stay; whether it could."""
        source = wrong.args[0]
        assert isinstance(source, fx.Node)
        slots = [*all_labels(self._context, source), *all_labels(self._context, wrong)]
        if self._couple_first([slot for slot in slots if len(varying(slot)) > 1], found):
            return True
        in_step = {one for block in found.blocks for cell in block.cells for one in cell}
        met = {int(one) for slot in slots for one in np.unique(found.class_of[slot.numpy()])}
        doomed = np.array(sorted(met & in_step), dtype=np.int64)
        reason = f"{wrong.name} would change the order of channels"
        return self._pin(found, doomed, reason, wrong)

    def _couple_first(self, slots: Sequence[Slot], found: Settlement) -> bool:
        """Unite the columns of the first of these grids that still has different ones by row."""
        for slot in slots:
            key = (tuple(slot.shape), slot.contiguous().numpy().tobytes())
            matrix = found.matrix(slot)
            if key in self._coupled or bool((matrix == matrix[:1]).all()):
                continue
            self._coupled.add(key)
            first = first_along(slot, varying(slot)[:-1])
            lonely = self._context.store.unite(slot, first)
            self._context.store.pin(PinRecord(lonely, "meets a part without channels", "", ""))
            return True
        return False

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


def _half_of(blocks: list[Block], classes: int, rng: np.random.Generator) -> np.ndarray:
    """Bool by class: every block loses half of its units, each cell other ones of its own."""
    kept = np.ones(classes, dtype=bool)
    for block in blocks:
        lost = block.units // 2
        for cell in block.cells:
            kept[rng.permutation(np.array(cell))[:lost]] = False
    return kept


def _first_misfit(module: fx.GraphModule, context: Context, keep: Keep) -> fx.Node | None:
    """The first node of the graph that what is kept would not fit, if any."""
    graph = fx.Graph()
    graph.graph_copy(module.graph, {})  # all but the output
    originals = {node.name: node for node in module.graph.nodes}
    rewriter = Rewriter(context, keep, originals)
    for node in graph.nodes:
        original: fx.Node = originals[node.name]
        try:
            rewrite_node(rewriter, node)
            if misplaced(node, rewriter):
                return original
        except NotRectangularError:
            return original
    return None
