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

    def ordered(self, score: np.ndarray) -> list[tuple[int, ...]]:
        """Units from the least to the most important; ``score`` is indexed by class."""
        ranked = [sorted(cell, key=lambda c: (score[c], c)) for cell in self.cells]
        return [tuple(cell[k] for cell in ranked) for k in range(self.units)]


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
    where: dict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
    for number, grid in enumerate(grids):
        for row, classes in enumerate(grid.matrix):
            for one in classes:
                where[int(one)][(number, row)] += 1
    where.pop(-1, None)
    cells: dict[frozenset[tuple[tuple[int, int], int]], list[int]] = defaultdict(list)
    for one, rows in where.items():
        cells[frozenset(rows.items())].append(one)
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


def _components(
    signatures: list[frozenset[tuple[tuple[int, int], int]]],
) -> list[list[frozenset[tuple[tuple[int, int], int]]]]:
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
    found: dict[int, list[frozenset[tuple[tuple[int, int], int]]]] = defaultdict(list)
    for signature in signatures:
        (grid, _), _ = next(iter(signature))
        found[find(grid)].append(signature)
    return list(found.values())


def _even(component: list[frozenset[tuple[tuple[int, int], int]]], grids: Sequence[Grid]) -> bool:
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
