"""Whole rows of grids (attention heads, key-value groups, conv groups) as removal units."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from graphprune.analysis.units import Block
from graphprune.labels.atoms import AtomStore, Rows


@dataclass(frozen=True)
class RowClasses:
    """:class:`graphprune.labels.atoms.Rows` by class.

    Attributes:
        rows: class that stands for each row, -1 where there is none, int64, shape (n,).
        members: classes of each row, int64, shape (n, m).
        inner: see :class:`graphprune.labels.atoms.Rows`.
    """

    rows: np.ndarray
    members: np.ndarray
    inner: bool


def row_classes(store: AtomStore, class_of: np.ndarray) -> list[RowClasses]:
    """All rows that the labels have met, inner rows before rows of rows."""
    return [
        RowClasses(class_of[found.atoms.numpy()], class_of[found.members.numpy()], found.inner)
        for found in all_rows(store)
    ]


def all_rows(store: AtomStore) -> list[Rows]:
    """Rows of every grid, also of those whose rows no operation has met."""
    while True:
        before = len(store.rows)
        for slot in list(store.grids.values()):
            inner = [dim for dim, size in enumerate(slot.shape) if size > 1][-1]
            store.add_grid(store.rows_of(slot, [inner]))
        if len(store.rows) == before:
            return [rows for _, rows in store.rows.values()]


def close(classes: np.ndarray, rows: Sequence[RowClasses], pure: np.ndarray) -> np.ndarray:
    """Remove the rows of which nothing is kept.

    Args:
        classes: bool by class, True where kept; not changed.
        rows: from :func:`row_classes`.
        pure: bool by class, whether no parameter or buffer holds it, so that it follows its rows.
    """
    kept = classes.copy()
    for found in rows:
        known = (found.rows >= 0) & pure[found.rows]
        stays = np.append(kept, True)[found.members].any(axis=1)
        kept[found.rows[known]] = stays[known]
    return kept


def pin_rows(pinned: np.ndarray, rows: Sequence[RowClasses]) -> None:
    """Rows that hold a channel which stays, or an element without channel, stay: in place."""
    for found in rows:
        stays = (np.append(pinned, True)[found.members]).any(axis=1) & (found.rows >= 0)
        pinned[found.rows[stays]] = True


def rows_together(
    blocks: Sequence[Block], units: Sequence[tuple[int, ...]]
) -> list[list[tuple[int, ...]]]:
    """Row units sorted by the blocks that they take from."""
    block_of = {one: n for n, block in enumerate(blocks) for cell in block.cells for one in cell}
    links: DisjointSet = DisjointSet(range(len(blocks)))
    touched = [sorted({block_of[one] for one in unit if one in block_of}) for unit in units]
    for numbers in touched:
        for one, other in itertools.pairwise(numbers):
            links.merge(one, other)
    found: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for unit, numbers in zip(units, touched, strict=True):
        found[links[numbers[0]]].append(unit)
    return list(found.values())


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
        ((number, place), cell)
        for number, block in enumerate(blocks)
        if len(block.cells) > 1
        for place, cell in enumerate(block.cells)
    ]
    cells_of, inner, stuck = _standing(rows, cells, pinned)
    links: DisjointSet = DisjointSet([cell for cell, _ in cells])
    for row in inner:
        for one, other in itertools.pairwise(cells_of[row]):
            links.merge(one, other)
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
        classes = {one for number, place in subset for one in blocks[number].cells[place]}
        found.append(tuple(sorted(classes | standing)))
    return found, stuck


def _standing(
    rows: Sequence[RowClasses], cells: Sequence[tuple[Cell, tuple[int, ...]]], pinned: np.ndarray
) -> tuple[dict[int, set[Cell]], set[int], set[int]]:
    """Cells for which each class stands, which of them are inner rows, and which cannot go."""
    cells_of: dict[int, set[Cell]] = defaultdict(set)
    inner: set[int] = set()
    stuck: set[int] = set()
    cell_of = np.full(pinned.size + 1, -1)  # the last entry is that of class -1
    for number, (_, classes) in enumerate(cells):
        cell_of[list(classes)] = number
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
            cells_of[row] |= {cells[number][0] for number in unlike if number >= 0}
    return cells_of, inner, stuck


def standing_classes(rows: Iterable[RowClasses]) -> np.ndarray:
    """Classes that stand for rows, each once."""
    found = [entry.rows for entry in rows]
    every = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    result: np.ndarray = every[every >= 0]
    return result
