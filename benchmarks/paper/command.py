"""The options and the run that the commands of the CIFAR-10 tables share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from benchmarks.conditions import set_up
from benchmarks.data import cifar10
from benchmarks.paper.cifar import Bench, Row, Schedule, measure, use_device

SCALES = ("full", "cpu")
_OPTIONS = (
    click.option(
        "--scale",
        type=click.Choice(SCALES),
        default="full",
        show_default=True,
        help="full: the whole data and schedule, for a GPU; cpu: the reduced scale of the docs.",
    ),
    click.option("--method", "methods", multiple=True, help="Only rows of this; repeatable."),
    click.option("--target", "targets", multiple=True, help="Only rows of this; repeatable."),
    click.option("--epochs", type=click.IntRange(1), help="Passes of fine-tuning."),
    click.option("--train-images", type=click.IntRange(2), help="Only the first so many."),
    click.option("--test-images", type=click.IntRange(1), help="Only the first so many."),
    click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak rate of fine-tuning."),
    click.option(
        "--reconstruct",
        type=click.IntRange(0),
        help="Batches of 128 to fit layers on after the cut.",
    ),
    click.option("--seed", default=0, show_default=True),
    click.option("--threads", type=click.IntRange(1), default=1, show_default=True),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu"]),
        default="auto",
        show_default=True,
        help="auto: a GPU where there is one, in bfloat16.",
    ),
    click.option("--compile", "compiled", is_flag=True, help="Fine-tune with torch.compile."),
    click.option(
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        help="JSON lines, by default in benchmarks/results/. Rows of the same dense model that it "
        "holds are not run again; the table lands beside it as .md.",
    ),
    click.option("--table-only", is_flag=True, help="Only write the table of the results so far."),
)


def table_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that measures rows; their values go to ``run_rows``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def run_rows(
    baseline: str, rows: Iterable[Row], schedule: Schedule, output: Path, options: dict[str, Any]
) -> None:
    """Measure the rows of one dense model, as the options of the command line say.

    Raises:
        click.UsageError: no row is of a method or of a target that they name.
    """
    rows = _chosen(list(rows), options["methods"], options["targets"])
    changes = {
        name: options[name]
        for name in ("epochs", "train_images", "test_images", "lr", "reconstruct")
        if options[name] is not None
    }
    set_up(options["seed"], options["threads"])
    device = use_device(options["device"])
    train, test = cifar10()
    bench = Bench(
        baseline,
        (train.to(device), test.to(device)),
        replace(schedule, **changes),
        output,
        options["seed"],
        options["compiled"],
        lambda line: click.echo(line, err=True),
    )
    measure(bench, rows)


def _chosen(rows: list[Row], methods: tuple[str, ...], targets: tuple[str, ...]) -> list[Row]:
    for option, named, known in (
        ("--method", methods, [row.method for row in rows]),
        ("--target", targets, [row.target for row in rows if row.target]),
    ):
        lost = [name for name in named if name not in known]
        if lost:
            there = ", ".join(dict.fromkeys(known))
            raise click.UsageError(f"{option} {lost[0]!r}: no row has it; there are {there}")
    found = [
        row
        for row in rows
        if (not methods or row.method in methods) and (not targets or row.target in targets)
    ]
    if not found:
        raise click.UsageError("no row is of such a method at such a target; leave one of them out")
    return found
