"""The order in which channel groups are thinned: single channels, even columns, whole rows.

Steps may overlap: a column is taken out of every row, also out of one that goes whole elsewhere in
the order. What is left is a rectangle after any choice of steps.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from graphprune.analysis.channels import ChannelGroup, Kind
from graphprune.analysis.units import Block
from graphprune.errors import TargetError

HEADS = ("both", "whole", "inside", "keep")
"""What rows of grids (attention heads, key-value groups, conv groups) may lose: whole rows, equally
many channels inside every row, either as importance has it, or nothing."""


@dataclass(frozen=True)
class Thinning:
    """What thinning leaves.

    Attributes:
        heads: one of :data:`HEADS`.
        round_to: a multiple of this many channels stays of every group, and of every row of a grid
            (attention head, conv group); what has fewer stays whole. Rows that are narrower or no
            multiple themselves go in numbers that make one. None: of 8, 4, 2 or 1, whichever
            makes eight steps or more of the group's size, and meets a budget.
        widest: the largest of these where ``round_to`` is None.

    Raises:
        TargetError: there is no such policy, or ``round_to`` is less than 1.
    """

    heads: str = "both"
    round_to: int | None = 1
    widest: int = 8

    def __post_init__(self) -> None:
        if self.heads not in HEADS:
            raise TargetError(f"heads {self.heads!r} is not known; use {', '.join(HEADS)}")
        if self.round_to is not None and self.round_to < 1:
            raise TargetError(f"widths cannot be rounded to {self.round_to}; give 1 or more")

    def step(self, size: int) -> int:
        """What stays of ``size`` channels is a multiple of this."""
        if self.round_to is not None:
            return self.round_to
        steps = [step for step in _AUTOMATIC if step <= self.widest]
        return next((step for step in steps if size >= _FINE * step), 1)

    def finer(self) -> Iterator[Thinning]:
        """This, and where widths are rounded by themselves those with smaller steps, to the end."""
        yield self
        if self.round_to is None:
            yield from (replace(self, widest=step) for step in _AUTOMATIC if step < self.widest)

    def exact(self) -> Thinning:
        """The same, but not rounded unless that was asked for."""
        return self if self.round_to is not None else replace(self, round_to=1)

    def nearest(self, kept: float, size: int) -> int:
        """The number of channels to keep, of ``size``, that is nearest to ``kept``."""
        step = self.step(size)
        multiple = max(math.floor(kept / step + 0.5) * step, step)
        return multiple if abs(multiple - kept) <= size - kept else size


FREELY = Thinning()
"""One channel at a time, and of heads whatever costs least."""


FOR_HARDWARE = Thinning(round_to=None)
"""The default of what is delivered: widths of which hardware makes the most."""

_AUTOMATIC = (8, 4, 2, 1)
_FINE = 8


_STAY = {
    "both": (),
    "whole": (Kind.COLUMN_OF_MANY,),
    "inside": (Kind.ROW, Kind.HEAD),
    "keep": (Kind.ROW, Kind.HEAD, Kind.COLUMN, Kind.COLUMN_OF_MANY),
}
"""Channels of heads, or shared by them, that each policy leaves alone."""


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
    thinning: Thinning,
) -> list[Step]:
    """Every step of thinning groups that share rows, the least important first.

    Args:
        groups: the groups.
        rows: classes of every row that may go whole.
        score: importance by class, comparable between these groups.
        thinning: what is left.
    """
    blocks = [block for group in groups for block in group.in_step]
    single = [block.cells[0] for block in blocks if len(block.cells) == 1]
    may_go = [alone(group, thinning.heads) for group in groups]
    plain = least_first(np.concatenate([*may_go, *single]), score)
    orders: list[Sequence[Step]] = []
    if thinning.round_to == 1:
        values = score[plain].tolist()
        orders.append(
            [Step(value, (one,), 1) for value, one in zip(values, plain.tolist(), strict=True)]
        )
    else:
        of_each = [plain[np.isin(plain, group.channels)] for group in groups]
        orders += [_in_batches(each, score, thinning.step(each.size)) for each in of_each]
    rowed = list(dict.fromkeys(block for block in blocks if len(block.cells) > 1))
    if rowed and thinning.heads != "keep":
        orders.append(list(_Rectangles(rowed, rows, score, thinning)))
    return list(heapq.merge(*orders, key=lambda step: step.value))


def alone(group: ChannelGroup, heads: str) -> np.ndarray:
    """Channels of a group that may go by themselves, int64, 1-D; ``heads`` is one of HEADS."""
    found: np.ndarray = group.alone[~np.isin(group.kinds, _STAY[heads])]
    return found


def least_first(classes: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Classes, int64, 1-D, the least important first; ``score`` is indexed by class."""
    classes = np.asarray(classes, dtype=np.int64)
    return classes[np.lexsort((classes, score[classes]))]


def _in_batches(ordered: np.ndarray, score: np.ndarray, step: int) -> list[Step]:
    """Removals of one group's channels that leave a multiple each, and never less than one."""
    steps, start, most = [], 0, ordered.size - _least(step)
    while (stop := start + _batch(ordered.size - start, step)) <= most:
        batch = ordered[start:stop]
        steps.append(Step(float(score[batch].mean()), tuple(batch.tolist()), batch.size))
        start = stop
    return steps


def _batch(there: int, step: int) -> int:
    """How many go at once for a multiple to be left."""
    return there % step or step


def _least(step: int) -> int:
    """How many stay at least; where channels go one by one, a guard sees to the last one."""
    return step if step > 1 else 0


class _Rectangles:
    """Thinning of blocks that share rows: the cheaper of columns and rows, one after another."""

    def __init__(
        self,
        blocks: Sequence[Block],
        rows: Sequence[tuple[int, ...]],
        score: np.ndarray,
        thinning: Thinning,
    ) -> None:
        heads = thinning.heads
        self._steps = [thinning.step(block.units) for block in blocks]
        # Rows go in numbers that leave a multiple, whatever number of columns they keep.
        self._rows_at_once = math.lcm(
            *(step // math.gcd(step, b.units) for step, b in zip(self._steps, blocks, strict=True))
        )
        self._least_rows = self._rows_at_once if max(self._steps) > 1 else 0
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
        self._costs = np.full(len(blocks), np.nan)  # of the next columns; nan: to be worked out
        self._left = np.array([float(score[row].sum()) for row in self._rows])
        self._count = np.array([row.size for row in self._rows], dtype=np.int64)

    def __iter__(self) -> Iterator[Step]:
        highest = -np.inf
        while True:
            columns, rows = self._cheapest_columns(), self._cheapest_rows()
            if columns is None and rows is None:
                return
            if rows is None or (columns is not None and columns[0] <= rows[0]):
                assert columns is not None
                value, step = columns[0], self._take_columns(columns[1])
            else:
                value, step = rows[0], self._take_rows(rows[1])
            highest = max(highest, value)
            yield Step(highest, *step)

    def _cheapest_columns(self) -> tuple[float, int] | None:
        for number in np.flatnonzero(np.isnan(self._costs)).tolist():
            self._costs[number] = self._cost_of_columns(number)
        number = int(self._costs.argmin())
        cost = float(self._costs[number])
        return None if math.isinf(cost) else (cost, number)

    def _cost_of_columns(self, number: int) -> float:
        """Mean importance of what a block's next columns take away; infinite if they may not go."""
        values, alive, going = self._values[number], self._alive[number], self._next_columns(number)
        enough = values.shape[1] - going.stop >= _least(self._steps[number])
        may_go = self._columns[number] and enough and bool(alive.any())
        return float(values[alive, going].mean()) if may_go else math.inf

    def _next_columns(self, number: int) -> slice:
        taken, units = self._taken[number], self._values[number].shape[1]
        return slice(taken, taken + _batch(units - taken, self._steps[number]))

    def _cheapest_rows(self) -> tuple[float, list[int]] | None:
        live = np.flatnonzero(self._count)
        many = _batch(live.size, self._rows_at_once)
        if live.size - many < self._least_rows:
            return None
        means = self._left[live] / self._count[live]
        best = means.argsort(kind="stable")[:many]
        return float(means[best].mean()), live[best].tolist()

    def _take_columns(self, number: int) -> tuple[tuple[int, ...], int]:
        going, alive, rows = self._next_columns(number), self._alive[number], self._row_of[number]
        self._taken[number] = going.stop
        self._costs[number] = math.nan
        for row in np.flatnonzero(alive & (rows >= 0)):
            if self._count[rows[row]]:
                self._left[rows[row]] -= self._values[number][row, going].sum()
                self._count[rows[row]] -= going.stop - going.start
        classes = tuple(self._cells[number][:, going].T.ravel().tolist())
        return classes, int(alive.sum()) * (going.stop - going.start)

    def _take_rows(self, going: list[int]) -> tuple[tuple[int, ...], int]:
        fresh = int(self._count[going].sum())
        self._count[going] = 0
        for number, (alive, rows) in enumerate(zip(self._alive, self._row_of, strict=True)):
            if (hit := np.isin(rows, going)).any():
                alive[hit] = False
                self._costs[number] = math.nan
        return tuple(one for row in going for one in self._rows[row].tolist()), fresh


def _sorted_cells(block: Block, score: np.ndarray) -> np.ndarray:
    """Classes of a block, shape (cells, units): each cell's least important ones in order."""
    ranked = [sorted(cell, key=lambda one: (score[one], one)) for cell in block.cells]
    return np.array([cell[: block.units] for cell in ranked])
