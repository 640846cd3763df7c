"""The allocations that a search tried, as the report shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table


@dataclass(frozen=True)
class TrialRow:
    """One allocation of the budget.

    Attributes:
        place: among all that were tried, 1 is the one that was kept.
        method: that ranked the channels.
        allocation: how the budget was shared among the groups.
        widths: channels left of each group, in the report's order of groups.
        reached: share of the budget's kind that stays.
        accuracy, loss: on held-out data before any fine-tuning; None where there is none.
    """

    place: int
    method: str
    allocation: str
    widths: tuple[int, ...]
    reached: float
    accuracy: float | None = None
    loss: float | None = None


def trials_table(rows: Sequence[TrialRow]) -> Table:
    """The rows as a table for the terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("place", justify="right")
    table.add_column("allocation tried")
    table.add_column("method", overflow="fold")
    figures = ("accuracy", "loss")
    shown = [name for name in figures if any(getattr(row, name) is not None for row in rows)]
    for column in ("kept", *shown):
        table.add_column(column, justify="right")
    forms = {"accuracy": "{:.2%}", "loss": "{:.4f}"}
    for row in rows:
        values = [(name, getattr(row, name)) for name in shown]
        cells = ["" if value is None else forms[name].format(value) for name, value in values]
        table.add_row(str(row.place), row.allocation, row.method, f"{row.reached:.1%}", *cells)
    table.caption = "before fine-tuning, on held-out data"
    return table
