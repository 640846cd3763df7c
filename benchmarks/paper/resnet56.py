"""ResNet-56 on JPEG CIFAR-10 to 2.1 and 2.55 times fewer MACs (DepGraph's protocol).

G. Fang et al., "DepGraph: Towards Any Structural Pruning" (CVPR 2023), prunes the same network by
the same factors. The images here are JPEG re-encodings: what counts is the change from the dense
model that was fine-tuned on them, beside that of the same model under the same further schedule.
Needs that dense model first: ``python -m benchmarks.baselines resnet56``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks.conditions import RESULTS, markdown_table, read
from benchmarks.options import one_line_errors
from benchmarks.paper.cifar import (
    DENSE,
    DENSE_TUNED,
    Row,
    Schedule,
    dense_record,
    fitted,
    rate,
    seen,
)
from benchmarks.paper.command import run_rows, table_options

METHODS = ("mean", "l2", "random", "taylor", "fpgm", "l1")
TARGETS = ("macs=0.476", "macs=0.392")  # 2.1 and 2.55 times fewer
AIMS = {"macs=0.476": 0.2, "macs=0.392": 0.0}  # change of accuracy, points
# Ways to spread a cut over the network: the ranking, and whether residual streams are spared.
SPREADS = (("local", False), ("global", False), ("isomorphic", False), ("local", True))
SCHEDULES = {
    "full": Schedule(epochs=100, lr=0.1, batch_size=256),
    "cpu": Schedule(
        train_images=2_500,
        test_images=2_000,
        probe_images=500,
        rank_images=1_000,
        learn_epochs=4,
        lr=0.03,
        batch_size=32,
        recalibrate=16,
        augment=False,
    ),
}


def rows() -> list[Row]:
    """The fine-tuned rows, with the streams spared, then what other spreads leave after the cut."""
    first, second = TARGETS
    found = [Row(DENSE), *(Row(method, first, inner=True) for method in METHODS), Row(DENSE_TUNED)]
    found += [Row(method, second, inner=True) for method in METHODS]
    for ranking, inner in SPREADS[:-1]:
        found += [Row(method, first, ranking, inner, tuned=False) for method in METHODS]
    return found


def cut_table(records: list[dict[str, Any]]) -> str:
    """Markdown: accuracy right after the cut, as it is and with batch norms re-estimated."""
    columns = [(TARGETS[0], *spread) for spread in SPREADS] + [(TARGETS[1], "local", True)]
    heads = [f"{t}, {ranking}{', inner' if inner else ''}" for t, ranking, inner in columns]
    found = {
        (r["row"]["method"], r["row"]["target"], r["row"]["ranking"], r["row"]["inner"]): r
        for r in reversed(records)  # the first of equal rows counts
        if "error_recalibrated" in r
    }
    lines = []
    for method in METHODS:
        cells = [found.get((method, *column)) for column in columns]
        if any(cells):
            lines.append((method, *(_after_cut(record) for record in cells)))
    return markdown_table(("method", *heads), lines)


def _after_cut(record: dict[str, Any] | None) -> str:
    if record is None:
        return ""
    if "failed" in record:
        return "not proved"
    return f"{100 - record['error_cut']:.1f} → {100 - record['error_recalibrated']:.1f}"


def tuned_table(records: list[dict[str, Any]]) -> str:
    """Markdown: accuracy after fine-tuning and its change from the dense model, in points."""
    heads = ("method", "MACs", "parameters", "layers fitted", "rate", "images seen")
    heads += ("accuracy %", "change", "aim", "s")
    lines = []
    for record in (r for r in records if "error" in r):
        row, aim, base = record["row"], None, dense_record(records, record)
        if record["baseline"] == "resnet56":
            aim = AIMS.get(row["target"])
        change = base["error"] - record["error"] if base else None
        fewer = f" ({base['macs'] / record['macs']:.2f}x fewer)" if base else ""
        lines.append(
            (
                row["method"],
                f"{record['macs']:,}{fewer}",
                f"{record['parameters']:,}",
                fitted(record),
                rate(record),
                seen(record),
                f"{100 - record['error']:.2f}",
                "" if change is None else f"{change:+.2f}",
                "" if aim is None else f"{aim:+.1f}",
                f"{record['seconds']:.0f}",
            )
        )
    return markdown_table(heads, lines)


@click.command()
@click.option(
    "--model",
    type=click.Choice(["resnet56", "resnet20"]),
    default="resnet56",
    show_default=True,
    help="resnet20 is the same at a third of the cost, without an aim.",
)
@table_options
@one_line_errors
def main(model: str, **options: Any) -> None:
    """Cut ResNet-56 by several methods under one schedule and write the tables.

    Example: python -m benchmarks.paper.resnet56 --scale cpu --method mean
    """
    scale = options["scale"]
    output: Path = options["output"] or RESULTS / f"{model}_{scale}.jsonl"
    if not options["table_only"]:
        run_rows(model, rows(), SCHEDULES[scale], output, options)
    records = read(output)
    text = f"{cut_table(records)}\n{tuned_table(records)}"
    output.with_suffix(".md").write_text(text)
    click.echo(text)


if __name__ == "__main__":
    main()
