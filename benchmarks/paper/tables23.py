"""VGG-16 and WideResNet-28-10 on JPEG CIFAR-10, beside Tables 2 and 3 of the paper.

Needs the dense models first: ``python -m benchmarks.baselines vgg16`` and ``wrn28_10``, or for the
reduced scale ``vgg16_quarter`` and ``wrn10_1``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.compressing import Task
from benchmarks.conditions import RESULTS, append, conditions, markdown_table, read
from benchmarks.data import Images
from benchmarks.models import build
from benchmarks.options import one_line_errors
from benchmarks.paper.cifar import Row, costs, cut_row, dense_record, fitted, rate, seen
from benchmarks.paper.command import run_rows, table_options
from benchmarks.paper.cutting import rank
from benchmarks.paper.tables23_rows import EXPERIMENTS, SCHEDULES, Quoted, counted_rows, rows
from graphprune.cutting import prove

HEADS = ("method", "architecture", "layers fitted", "rate", "images seen")
HEADS += ("error %", "change", "MACs", "parameters", "removed", "s")


def table(quoted: tuple[Quoted, ...], records: list[dict[str, Any]]) -> str:
    """Markdown: the paper's rows, then ours; "change" is that of the error, in points.

    "removed" is the share of the dense model's parameters that is gone.
    """
    lines: list[tuple[object, ...]] = [
        (
            f"{row.method}, paper",
            row.architecture,
            *("", "", ""),
            f"{row.error:.1f}",
            "",
            "" if row.macs is None else f"{row.macs:g} M",
            f"{row.parameters:g} M",
            "" if row.removed is None else f"{row.removed:.1f}%",
            "",
        )
        for row in quoted
    ]
    for record in records:
        lines.append(_line(record, record.get("dense") or dense_record(records, record)))
    return markdown_table(HEADS, lines)


def _line(record: dict[str, Any], dense: dict[str, Any] | None) -> tuple[object, ...]:
    error = record.get("error")
    change = "" if error is None or dense is None else f"{error - dense['error']:+.2f}"
    removed = "" if dense is None else f"{1 - record['parameters'] / dense['parameters']:.1%}"
    return (
        _name(Row(**record["row"])),
        "-".join(map(str, record["widths"])),
        fitted(record),
        rate(record),
        seen(record),
        "not proved" if "failed" in record else "" if error is None else f"{error:.2f}",
        change,
        f"{record['macs']:,}",
        f"{record['parameters']:,}",
        removed,
        f"{record['seconds']:.0f}" if "seconds" in record else "",
    )


def _name(row: Row) -> str:
    given = row.target.startswith("widths")
    how = [row.method, "given widths" if given else row.target]
    how.append("inner channels alone" if row.inner else "all channels" if row.target else "")
    how.append("" if given or not row.target else row.ranking)
    return ", ".join(part for part in how if part)


def count(zoo: str, row: Row) -> dict[str, Any]:
    """Costs of a full-size network with random weights cut as ``row`` says, and of it uncut.

    The cut is proved, as every other.
    """
    model, (example,) = build(zoo)
    pixels = torch.zeros(example.shape, dtype=torch.uint8)
    images = Images(pixels, torch.zeros(len(example), dtype=torch.int64), (0.5,) * 3, (0.25,) * 3)
    task = Task(model, images, images)
    ranked = rank(task, row.method, seed=0)
    small, plan = cut_row(ranked, row)
    prove(small, ranked.analysis, plan, 0)
    return {**costs(small.module, task), "dense": costs(model, task)}


@click.command()
@click.option("--table", "name", type=click.Choice(list(EXPERIMENTS)), required=True)
@click.option(
    "--count-only",
    is_flag=True,
    help="Only cut the full-size network with random weights, prove the cut and count.",
)
@table_options
@one_line_errors
def main(name: str, count_only: bool, **options: Any) -> None:
    """Cut VGG-16 or WideResNet to the paper's size by several methods and write the table.

    Example: python -m benchmarks.paper.tables23 --table vgg16 --scale cpu
    """
    experiment, scale = EXPERIMENTS[name], options["scale"]
    kind = "counted" if count_only else scale
    output: Path = options["output"] or RESULTS / f"{name}_{kind}.jsonl"
    if options["table_only"]:
        pass
    elif count_only:
        for row in counted_rows(name):
            record = {"row": vars(row), **count(experiment.zoo, row), **conditions(0)}
            append(output, record)
    else:
        schedule = SCHEDULES[name][scale]
        run_rows(experiment.dense[scale], rows(name, scale), schedule, output, options)
    text = table(experiment.quoted, read(output))
    output.with_suffix(".md").write_text(text)
    click.echo(text)


if __name__ == "__main__":
    main()
