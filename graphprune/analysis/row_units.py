"""Which whole rows of grids may be removed, and what goes with each."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from graphprune.analysis.rows import RowClasses
from graphprune.analysis.units import Block

Cell = tuple[int, int]


def removable_rows(
    blocks: Sequence[Block], rows: Sequence[RowClasses], pinned: np.ndarray
) -> tuple[list[tuple[int, ...]], set[int]]:
    """Sets of classes that may be removed beside what is taken evenly from all rows.

    A cell that lies in several rows takes all of them with it, so rows are joined until each is
    whole; what stands for a row (a head's own parameters) goes with it.

    Returns:
        (units, stuck): stuck are the classes that stand for rows which cannot go.
    """
    cells = [
        ((number, place), classes)
        for number, block in enumerate(blocks)
        if len(block.cells) > 1
        for place, classes in enumerate(block.cells)
    ]
    cell_of = np.full(pinned.size + 1, -1)  # the last entry is that of class -1
    for number, (_, classes) in enumerate(cells):
        cell_of[list(classes)] = number
    places = [cell for cell, _ in cells]
    cells_of, joining, lone, stuck = _standing(rows, places, cell_of, pinned)
    links = _join_rows(cells_of, joining, lone, _CellGrids(rows, places, cell_of, lone))
    heads: dict[Cell, set[int]] = defaultdict(set)
    for row, met in cells_of.items():
        units = {links[cell] for cell in met}
        if len(units) == 1:
            heads[units.pop()].add(row)
        elif units:  # many rows at once, of which one always stays
            stuck.add(row)
    found = []
    for subset in links.subsets():
        standing = heads[links[next(iter(subset))]]
        touched = {number for number, _ in subset}
        everything = any({(n, p) for p in range(len(blocks[n].cells))} <= subset for n in touched)
        if everything or standing & stuck:
            stuck |= standing
            continue
        going = {one for number, place in subset for one in blocks[number].cells[place]}
        found.append(tuple(sorted(going | standing)))
    return found, stuck


def _join_rows(
    cells_of: Mapping[int, set[Cell]], joining: set[int], lone: set[int], grids: _CellGrids
) -> DisjointSet:
    """Cells joined with those that they go with.

    A lone row joins nothing as long as all rows of its grid lose equally much: the queries of a
    packed projection stay, and a head is a part of them.
    """
    over = set(joining)
    while True:
        links: DisjointSet = DisjointSet(grids.cells)
        for row in over:
            for one, other in itertools.pairwise(cells_of[row]):
                links.merge(one, other)
        torn = (grids.torn(links) & lone) - over
        if not torn:
            return links
        over |= torn


class _CellGrids:
    """Grids that have lone rows, their elements as numbers of cells, -1 for none."""

    def __init__(
        self,
        rows: Sequence[RowClasses],
        cells: Sequence[Cell],
        cell_of: np.ndarray,
        lone: set[int],
    ) -> None:
        self.cells = cells
        self._grids = [
            (found.rows, cell_of[found.members])
            for found in rows
            if found.inner and not lone.isdisjoint(found.rows.tolist())
        ]

    def torn(self, links: DisjointSet) -> set[int]:
        """Rows of grids of which removing joined cells would not leave a rectangle."""
        numbers: dict[tuple[Cell, int], int] = {}
        subset: dict[Cell, int] = {}
        of_cell = [
            (
                subset.setdefault(links[cell], len(subset)),
                numbers.setdefault((links[cell], cell[0]), len(numbers)),
            )
            for cell in self.cells
        ]
        table = np.array([*of_cell, (-1, -1)])  # the last row is that of no cell
        result: set[int] = set()
        for rows, grid in self._grids:
            subsets, parts = table[grid, 0], table[grid, 1]
            whole = (subsets == subsets[:, :1]).all(axis=1)
            for part in np.unique(parts[parts >= 0]):
                lost = (parts == part).sum(axis=1)
                stays = ~(whole & (lost > 0))
                if np.unique(lost[stays]).size > 1:
                    result.update(rows[(lost > 0) & stays].tolist())
        return result


def _standing(
    rows: Sequence[RowClasses], cells: Sequence[Cell], cell_of: np.ndarray, pinned: np.ndarray
) -> tuple[dict[int, set[Cell]], set[int], set[int], set[int]]:
    """Cells for which each class stands, which inner rows join them, which are lone, which stay.

    A row is lone that cannot go and whose class stands for no other row, with which it would have
    to go.
    """
    cells_of: dict[int, set[Cell]] = {}
    inner: set[int] = set()
    stuck: set[int] = set()
    several: set[int] = set()
    for found in rows:
        real = (found.rows >= 0) & (found.members != found.rows[:, None]).any(axis=1)
        standing, met = found.rows[real], np.sort(cell_of[found.members[real]], axis=1)
        held = (cell_of[standing] >= 0) | pinned[standing] | (met[:, 0] < 0)
        stuck.update(standing[held].tolist())
        if found.inner:
            inner.update(standing.tolist())
        for row, numbers in zip(standing.tolist(), met, strict=True):
            alike = numbers[0] == numbers[-1]  # most rows lie in one cell
            unlike = numbers[:1].tolist() if alike else set(numbers.tolist())
            here = {cells[number] for number in unlike if number >= 0}
            if here != (known := cells_of.setdefault(row, here)):
                several.add(row)
                cells_of[row] = known | here
    lone = (inner & stuck) - several
    return cells_of, inner - lone, lone, stuck
