"""The order in which channel groups are thinned: single channels, even columns, whole rows.

Steps may overlap: a column is taken out of every row, also out of one that goes whole elsewhere in
the order. What is left is a rectangle after any choice of steps.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.units import Block
from graphprune.errors import TargetError

HEADS = ("both", "whole", "inside", "keep")
"""What rows of grids (attention heads, key-value groups, conv groups) may lose: whole rows, equally
many channels inside every row, either as importance has it, or nothing."""


def check_heads(heads: str) -> str:
    """The policy, if there is one of this name.

    Raises:
        TargetError: there is none.
    """
    if heads not in HEADS:
        raise TargetError(f"heads {heads!r} is not known; use {', '.join(HEADS)}")
    return heads


class Step(NamedTuple):
    """One removal.

    Attributes:
        value: mean importance of what it takes away; never falls along the order.
        classes: of channels that go.
        fresh: how many of them earlier steps have not taken.
    """

    value: float
    classes: tuple[int, ...]
    fresh: int


def removal_order(
    groups: Sequence[ChannelGroup],
    rows: Sequence[tuple[int, ...]],
    score: np.ndarray,
    heads: str,
) -> list[Step]:
    """Every step of thinning groups that share rows, the least important first.

    Args:
        groups: the groups.
        rows: classes of every row that may go whole.
        score: importance by class, comparable between these groups.
        heads: see :data:`HEADS`.
    """
    blocks = [block for group in groups for block in group.in_step]
    single = [block.cells[0] for block in blocks if len(block.cells) == 1]
    alone = least_first(np.concatenate([*(group.alone for group in groups), *single]), score)
    free = [
        Step(value, (one,), 1)
        for value, one in zip(score[alone].tolist(), alone.tolist(), strict=True)
    ]
    rowed = list(dict.fromkeys(block for block in blocks if len(block.cells) > 1))
    orders: list[Sequence[Step]] = [free]
    if rowed and heads != "keep":
        orders.append(list(_Rectangles(rowed, rows, score, heads)))
    return list(heapq.merge(*orders, key=lambda step: step.value))


def least_first(classes: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Classes, int64, 1-D, the least important first; ``score`` is indexed by class."""
    classes = np.asarray(classes, dtype=np.int64)
    return classes[np.lexsort((classes, score[classes]))]


class _Rectangles:
    """Thinning of blocks that share rows: the cheaper of a column and a row, one after another."""

    def __init__(
        self,
        blocks: Sequence[Block],
        rows: Sequence[tuple[int, ...]],
        score: np.ndarray,
        heads: str,
    ) -> None:
        self._rows = [np.array(row) for row in rows] if heads != "inside" else []
        row_of = np.full(score.size, -1)
        for number, row in enumerate(self._rows):
            row_of[row] = number
        self._cells = [_sorted_cells(block, score) for block in blocks]
        self._values = [score[cells] for cells in self._cells]
        self._row_of = [row_of[cells[:, 0]] for cells in self._cells]
        self._alive = [np.ones(len(cells), dtype=bool) for cells in self._cells]
        self._taken = [0] * len(blocks)
        # A block without a row that may go is thinned inside whatever the policy is.
        self._columns = [heads != "whole" or bool((rows < 0).all()) for rows in self._row_of]
        self._left = np.array([float(score[row].sum()) for row in self._rows])
        self._count = np.array([row.size for row in self._rows], dtype=np.int64)

    def __iter__(self) -> Iterator[Step]:
        highest = -np.inf
        while True:
            column, row = self._cheapest_column(), self._cheapest_row()
            if column is None and row is None:
                return
            if row is None or (column is not None and column[0] <= row[0]):
                assert column is not None
                value, step = column[0], self._take_column(column[1])
            else:
                value, step = row[0], self._take_row(row[1])
            highest = max(highest, value)
            yield Step(highest, *step)

    def _cheapest_column(self) -> tuple[float, int] | None:
        found = []
        for number, values in enumerate(self._values):
            alive, taken = self._alive[number], self._taken[number]
            if self._columns[number] and taken < values.shape[1] and alive.any():
                found.append((float(values[alive, taken].mean()), number))
        return min(found, default=None)

    def _cheapest_row(self) -> tuple[float, int] | None:
        live = np.flatnonzero(self._count)
        if not live.size:
            return None
        means = self._left[live] / self._count[live]
        best = int(means.argmin())
        return float(means[best]), int(live[best])

    def _take_column(self, number: int) -> tuple[tuple[int, ...], int]:
        taken = self._taken[number]
        self._taken[number] += 1
        alive = self._alive[number]
        rows = self._row_of[number]
        for row in np.flatnonzero(alive & (rows >= 0)):
            if self._count[rows[row]]:
                self._left[rows[row]] -= self._values[number][row, taken]
                self._count[rows[row]] -= 1
        return tuple(self._cells[number][:, taken].tolist()), int(alive.sum())

    def _take_row(self, row: int) -> tuple[tuple[int, ...], int]:
        fresh = int(self._count[row])
        self._count[row] = 0
        for alive, rows in zip(self._alive, self._row_of, strict=True):
            alive[rows == row] = False
        return tuple(self._rows[row].tolist()), fresh


def _sorted_cells(block: Block, score: np.ndarray) -> np.ndarray:
    """Classes of a block, shape (cells, units): each cell's least important ones in order."""
    ranked = [sorted(cell, key=lambda one: (score[one], one)) for cell in block.cells]
    return np.array([cell[: block.units] for cell in ranked])
