"""Removal units: the smallest sets of channels that may go without breaking a rectangle.

A tensor labelled along two dimensions (conv groups x channels, heads x head size) must stay a
rectangle: each row has to lose as many channels as every other, though not the same ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Block:
    """Channels that are removed in step: the k-th unit takes one channel out of every cell.

    Attributes:
        cells: classes of each cell; one cell of one class each for free channels.
    """

    cells: tuple[tuple[int, ...], ...]

    @property
    def units(self) -> int:
        """How many removal units there are."""
        return min(len(cell) for cell in self.cells)


@dataclass(frozen=True)
class Grid:
    """A matrix of classes, shape (rows, columns), whose rows must lose equally many.

    Attributes:
        matrix: its unlike rows.
        source: number of the first tensor that has it.
    """

    matrix: np.ndarray
    source: int


@dataclass(frozen=True)
class Stuck:
    """Grids that share channels and cannot be shortened evenly.

    Attributes:
        classes: all of their classes.
        sources: numbers of the tensors they come from, in order.
    """

    classes: tuple[int, ...]
    sources: tuple[int, ...]


def true_grids(matrices: Iterable[np.ndarray]) -> tuple[list[Grid], list[int]]:
    """Sort out which matrices really constrain.

    Returns:
        (grids, mixed): mixed are the numbers of matrices with both rows of one channel each and
        other rows.
    """
    grids: dict[tuple[tuple[int, ...], bytes], Grid] = {}
    mixed: list[int] = []
    for number, matrix in enumerate(matrices):
        rows = np.unique(matrix, axis=0)
        if rows.shape[0] == 1 or rows.shape[1] == 1:
            continue  # every row is alike: removing a column is even by itself
        constant = (rows == rows[:, :1]).all(axis=1)
        if constant.all():
            continue  # channels are whole rows
        if constant.any():
            mixed.append(number)
            continue
        grids.setdefault((rows.shape, rows.tobytes()), Grid(rows, number))
    return list(grids.values()), mixed


def solve_blocks(grids: Sequence[Grid], pinned: np.ndarray) -> tuple[list[Block], list[Stuck]]:
    """Balanced blocks for all grids, and the grids for which there are none.

    Args:
        grids: from :func:`true_grids`.
        pinned: bool by class.
    """
    cells = _cells(grids)
    blocks: list[Block] = []
    stuck: list[Stuck] = []
    for component in _components(list(cells)):
        members = [sorted(c for c in cells[key] if not pinned[c]) for key in component]
        if all(members) and _even(component, grids):
            blocks.append(Block(tuple(tuple(cell) for cell in members)))
        elif any(members):
            everything = sorted(one for key in component for one in cells[key])
            sources = sorted({grids[n].source for key in component for (n, _), _ in key})
            stuck.append(Stuck(tuple(everything), tuple(sources)))
    return blocks, stuck


Signature = frozenset[tuple[tuple[int, int], int]]
"""In which rows ``(grid, row)`` of grids a class lies, and how many times in each."""


def _cells(grids: Sequence[Grid]) -> dict[Signature, list[int]]:
    """Classes that lie in the same rows, in the order of their first appearance."""
    cells: dict[Signature, list[int]] = defaultdict(list)
    if not grids:
        return cells
    rows = [(n, row) for n, grid in enumerate(grids) for row in range(grid.matrix.shape[0])]
    classes = np.concatenate([grid.matrix.reshape(-1) for grid in grids])
    widths = [grid.matrix.shape[1] for grid in grids for _ in range(grid.matrix.shape[0])]
    places = np.repeat(np.arange(len(rows)), widths)
    classes, places = classes[classes >= 0], places[classes >= 0]
    found, first = np.unique(classes, return_index=True)
    met, times = np.unique(classes * len(rows) + places, return_counts=True)
    bounds = np.searchsorted(met, np.append(found, found[-1:] + 1) * len(rows))
    met %= len(rows)
    known: dict[bytes, Signature] = {}
    for number in np.argsort(first).tolist():
        part = slice(bounds[number], bounds[number + 1])
        key = met[part].tobytes() + times[part].tobytes()
        if key not in known:
            pairs = zip(met[part].tolist(), times[part].tolist(), strict=True)
            known[key] = frozenset((rows[place], n) for place, n in pairs)
        cells[known[key]].append(int(found[number]))
    return cells


def _components(
    signatures: list[Signature],
) -> list[list[Signature]]:
    """Signatures linked through grids they share."""
    parent: dict[int, int] = {}

    def find(x: int) -> int:
        while parent.setdefault(x, x) != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for signature in signatures:
        numbers = [grid for (grid, _), _ in signature]
        for number in numbers[1:]:
            parent[find(number)] = find(numbers[0])
    found: dict[int, list[Signature]] = defaultdict(list)
    for signature in signatures:
        (grid, _), _ = next(iter(signature))
        found[find(grid)].append(signature)
    return list(found.values())


def _even(component: list[Signature], grids: Sequence[Grid]) -> bool:
    """Whether taking one class of every cell costs every row of each grid equally much.

    It must leave something as well: where a grid meets its own transpose, one class of every cell
    is all there is.
    """
    cost: Counter[tuple[int, int]] = Counter()
    touched: set[int] = set()
    for signature in component:
        for place, times in signature:
            cost[place] += times
            touched.add(place[0])
    for number in touched:
        rows, columns = grids[number].matrix.shape
        costs = {cost[(number, row)] for row in range(rows)}
        if len(costs) != 1 or columns in costs:
            return False
    return True
