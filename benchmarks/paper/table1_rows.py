"""The rows of Table 1: the paper's, and ours as mean and spread over seeds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.conditions import markdown_table

HEADS = (
    "method",
    "epochs",
    "architecture",
    "error %",
    "least to largest",
    "just after cutting",
    "seeds",
    "MACs",
    "parameters",
    "beaten by",
)


@dataclass(frozen=True)
class Row:
    """One row: test errors in per cent by seed, and cost by seed (alike where widths are given).

    ``epochs``: of fine-tuning; None where not known. ``pruned``: errors before fine-tuning.
    """

    name: str
    epochs: int | None
    architectures: tuple[str, ...]
    errors: tuple[float, ...]
    macs: tuple[int, ...]
    parameters: tuple[int, ...]
    pruned: tuple[float, ...] = ()

    @property
    def error(self) -> float:
        """Mean test error, per cent."""
        return statistics.fmean(self.errors)

    @property
    def cost(self) -> tuple[float, float]:
        """Mean MACs and mean parameters."""
        return statistics.fmean(self.macs), statistics.fmean(self.parameters)

    def dominates(self, other: Row) -> bool:
        """Whether this row has a lower mean error and costs no more of either kind."""
        (flops, params), (their_flops, their_params) = self.cost, other.cost
        return self.error < other.error and flops <= their_flops and params <= their_params

    def beats(self, other: Row) -> bool:
        """Whether this row has a lower mean error and, at once, fewer MACs or fewer parameters."""
        (flops, params), (their_flops, their_params) = self.cost, other.cost
        return self.error < other.error and (flops < their_flops or params < their_params)


# Method, architecture, test error in per cent, MACs (the paper's FLOPs) and parameters as printed.
PAPER = tuple(
    Row(f"{name}, paper", None, (widths,), (error,), (flops,), (params,))
    for name, widths, error, flops, params in (
        ("Dirichlet (150)", "6-8-40-20", 1.1, 168_000, 6_000),
        ("Dirichlet (mean)", "5-8-45-15", 1.1, 140_000, 5_500),
        ("Dirichlet (joint)", "6-7-35-17", 1.1, 158_000, 5_500),
        ("BC-GNJ", "8-13-88-13", 1.0, 288_000, 15_000),
        ("BC-GHS", "5-10-76-16", 1.0, 159_000, 9_000),
        ("RDP", "4-7-110-66", 1.0, 117_000, 16_000),
        ("FDOO (100K)", "2-7-112-478", 1.1, 113_000, 63_000),
        ("FDOO (200K)", "3-8-128-499", 1.0, 157_000, 76_000),
        ("GL", "3-12-192-500", 1.0, 211_000, 112_000),
        ("GD", "7-13-208-16", 1.1, 273_000, 29_000),
        ("SBP", "3-18-284-283", 0.9, 226_000, 99_000),
    )
)


def rows_of(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row for each method, target, ranking, schedule and dense model.

    A seed run twice counts once, last. Rows from before the dense model was recorded count as of
    one.
    """
    by_row: dict[tuple[Any, ...], dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for record in records:
        schedule = record["schedule"]
        state = record.get("dense_state", "")
        key = record["method"], record["target"], record["ranking"], tuple(schedule.items()), state
        by_row[key][record["seed"]] = record
    rows = []
    for (method, target, ranking, schedule, _), seeds in by_row.items():
        runs = [seeds[seed] for seed in sorted(seeds)]
        own = "" if target.startswith("widths=") else f", {target} {ranking}"
        rows.append(
            Row(
                f"{method}{own}",
                dict(schedule)["finetune_epochs"],
                tuple(dict.fromkeys("-".join(map(str, run["widths"])) for run in runs)),
                tuple(run["error"] for run in runs),
                tuple(run["macs"] for run in runs),
                tuple(run["parameters"] for run in runs),
                tuple(run["error_pruned"] for run in runs),
            )
        )
    return sorted(rows, key=lambda row: (-(row.epochs or 0), row.error))


def table(ours: Sequence[Row], paper: Sequence[Row] = PAPER) -> str:
    """Markdown: the paper's rows, then ours, most epochs and lowest mean error first.

    "Beaten by" names the rows of the paper that beat one of ours, and says for each of the paper's
    how many of ours dominate it.
    """
    lines = [(*_cells(row), f"{sum(one.dominates(row) for one in ours)} of ours") for row in paper]
    lines += [
        (*_cells(row), ", ".join(other.name for other in paper if other.beats(row)) or "none")
        for row in ours
    ]
    return markdown_table(HEADS, lines)


def _cells(row: Row) -> tuple[str, ...]:
    known = row.epochs is not None
    spread = f" ± {statistics.stdev(row.errors):.2f}" if len(row.errors) > 1 else ""
    return (
        row.name,
        str(row.epochs) if known else "",
        ", ".join(row.architectures),
        f"{row.error:.2f}{spread}" if known else f"{row.error:.1f}",
        f"{min(row.errors):.2f} to {max(row.errors):.2f}" if spread else "",
        f"{statistics.fmean(row.pruned):.1f}" if row.pruned else "",
        str(len(row.errors)) if known else "",
        *(f"{value:,.0f}" for value in row.cost),
    )
