"""``report.json`` of a model of which parts were compressed."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphprune.errors import UsageError
from graphprune.exporters.report import Report
from graphprune.io.text import few, reason

PARTIAL = "partial"
_SHOWN = 12


@dataclass(frozen=True)
class PartRow:
    """A part before and after.

    ``folder`` holds its files within the output; ``placed`` is ``class`` (the user's own class was
    shrunk) or ``graph`` (a graph of fixed shapes stands in its place); ``calls`` of it in a run of
    the model have ``shapes`` unlike signatures; ``error`` is the largest relative one.
    """

    name: str
    folder: str
    before: int
    after: int
    placed: str
    calls: int
    shapes: int
    error: float


@dataclass(frozen=True)
class LeftRow:
    """A submodule that was left alone, its parameters, and why."""

    name: str
    parameters: int
    reason: str


@dataclass(frozen=True)
class PartialReport(Report):
    """What ``report.json`` holds for a model that could not be captured whole.

    The figures of :class:`graphprune.exporters.report.Report` are those of the whole model, MACs
    for one call on the example inputs; each part has a report of its own beside its files.

    Attributes:
        captured: always ``partial``.
        why: what torch.export said to the whole model, and where.
        parts: what was compressed.
        left: what was left alone.
        whole: what was compared on the whole model, see
            :class:`graphprune.partial.prove.WholeProof`.
    """

    captured: str = PARTIAL
    why: str = ""
    parts: tuple[PartRow, ...] = ()
    left: tuple[LeftRow, ...] = ()
    whole: dict[str, float | int | None] = field(default_factory=dict)

    def render(self, console: Console) -> None:
        """Print a summary to a terminal."""
        super().render(console)
        console.print(_parts_table(self.parts))
        if self.left:
            names = few(f"{row.name} ({row.parameters} parameters)" for row in self.left)
            console.print(Text(f"Left alone: {names}; report.json says why", style="dim"))


def read_report(path: str | Path) -> Report:
    """The report in a file, of whichever kind it is.

    Raises:
        UsageError: the file is missing, damaged or no report.
    """
    report = Report.load(path)
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    if data.get("captured") != PARTIAL:
        return report
    try:
        return PartialReport(
            **{item.name: getattr(report, item.name) for item in dataclasses.fields(Report)},
            why=str(data["why"]),
            parts=tuple(PartRow(**row) for row in data["parts"]),
            left=tuple(LeftRow(**row) for row in data["left"]),
            whole=dict(data["whole"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is damaged: {reason(error)}") from error


def _parts_table(parts: tuple[PartRow, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("captured part", overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("put back as")
    table.add_column("error", justify="right")
    for row in parts[:_SHOWN]:
        share = f"{row.before} -> {row.after} ({row.after / max(row.before, 1):.1%})"
        table.add_row(Text(row.name), share, row.placed, f"{row.error:.1e}")
    if len(parts) > _SHOWN:
        table.caption = f"and {len(parts) - _SHOWN} more in report.json"
    return table
