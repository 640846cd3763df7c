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


def standing_classes(rows: Iterable[RowClasses]) -> np.ndarray:
    """Classes that stand for rows, each once."""
    found = [entry.rows for entry in rows]
    every = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    result: np.ndarray = every[every >= 0]
    return result
