"""Table 1 of "Dirichlet Pruning for Neural Network Compression": LeNet-5 on MNIST.

Needs the dense model first: ``python -m benchmarks.baselines lenet5``. Every method ranks the
channels of the same dense model; all are cut to the same widths and fine-tuned by one schedule.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from benchmarks.baselines import dense, state_digest
from benchmarks.compressing import METHODS, MethodName, Task, distilled, with_scores
from benchmarks.conditions import RESULTS, append, conditions, read, set_up
from benchmarks.data import Images, loader, mnist
from benchmarks.measure import macs, parameters
from benchmarks.options import CutTarget, one_line_errors
from benchmarks.paper.cutting import plan_for, rank, small_model
from benchmarks.paper.table1_rows import rows_of, table
from benchmarks.training import error_percent
from graphprune.training.finetune import FinetuneConfig, finetune
from graphprune.training.objective import Objective

# bn-scale is left out, for LeNet-5 has no norm; lamp too, which within a layer orders as l2 does.
ROWS = (
    *(name for name in METHODS if name not in ("implicit-1", "per-example-sequential")),
    *("vcnp", "l0", "l0-arm", "sbp", "bc-gnj", "bc-ghs", "rdp", "fdoo", "gl", "gd"),
    *("l1", "l2", "fpgm", "taylor", "fisher", "obd", "cosine"),
    *("activation-mean", "activation-var", "random"),
)
RANKING_BATCH = 50
SIZES = (20, 50, 500)
"""Channels of the layers of LeNet-5."""
LAST_TRAINING_IMAGE = 59_999


@dataclass(frozen=True)
class Schedule:
    """How every row is made: data and passes for ranking, then fine-tuning (AdamW, cosine).

    ``held_out``: training images that are measured on in place of the test images.
    """

    rank_images: int
    rank_epochs: int
    finetune_epochs: int
    lr: float
    batch_size: int
    held_out: int


@dataclass(frozen=True)
class Setting:
    """The dense model and its data; ``scored`` are the training images with the dense scores."""

    model: nn.Module
    train: Images
    test: Images
    scored: Images


def one_row(
    setting: Setting, schedule: Schedule, method: str, target: str, seed: int
) -> dict[str, Any]:
    """Rank, cut, fine-tune and measure once; errors in per cent of ``setting.test``."""
    started = time.perf_counter()
    pictures = setting.train.subset(slice(0, schedule.rank_images))
    task = Task(setting.model, pictures, setting.test, batch_size=RANKING_BATCH)
    ranking = "local" if target.startswith("widths=") else "global"
    ranked = rank(task, method, seed, schedule.rank_epochs)
    plan = plan_for(ranked, target, ranking)
    small = small_model(ranked, plan, seed)
    record: dict[str, Any] = {
        "method": method,
        "target": target,
        "ranking": ranking,
        "widths": [after for _, after in plan.widths.values()],
        "parameters": parameters(small),
        "macs": macs(small, task.example),
        "error_pruned": error_percent(small, setting.test),
        "seconds_compress": round(time.perf_counter() - started, 1),
    }
    # On a CPU this order in memory takes about half the time for networks of so few channels.
    small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = FinetuneConfig(
        epochs=schedule.finetune_epochs,
        optimizer="adamw",
        lr=schedule.lr,
        weight_decay=0.0,
        seed=seed,
    )
    batches = loader(setting.scored, schedule.batch_size, shuffle=True, seed=seed)
    tuned = finetune(small, batches, config, Objective(loss=distilled))
    record["seconds_finetune"] = round(tuned.seconds, 1)
    record["error"] = error_percent(small, setting.test)
    return record


def missing(records: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of ``wanted`` that no record holds the result of."""
    return [
        one
        for one in wanted
        if not any(all(record.get(key) == one[key] for key in one) for record in records)
    ]


@click.command()
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=MethodName(),
    default=ROWS,
    help="Repeatable: a short name of compressing.METHODS, or name{option=value,...}; "
    "default: every row of the table.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=CutTarget(SIZES),
    default=("widths=3-10-27",),
    show_default=True,
    help="Repeatable: channels of each layer, or a budget such as macs=0.0467, for which the "
    "method chooses the widths by a global ranking.",
)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True)
@click.option(
    "--rank-images",
    type=click.IntRange(1),
    default=8000,
    show_default=True,
    help="The first so many.",
)
@click.option(
    "--rank-epochs", type=click.IntRange(1), default=1, show_default=True, help="Of switches."
)
@click.option("--finetune-epochs", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    default=0.01,
    show_default=True,
    help="Peak rate of fine-tuning.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=128, show_default=True, help="Of fine-tuning."
)
@click.option(
    "--held-out",
    type=click.IntRange(0, LAST_TRAINING_IMAGE),
    default=0,
    show_default=True,
    help="Measure on the last so many training images instead of the test images, and rank and "
    "fine-tune without them, for choosing widths and rates; the dense model has seen them.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "table1.jsonl",
    show_default=False,
    help="JSON lines, appended to; what is there, of the same dense model, is not run again. The "
    "table lands beside as .md.",
)
@click.option("--table-only", is_flag=True, help="Only write the table of the results so far.")
@one_line_errors
def main(**options: Any) -> None:
    """Make the rows of Table 1, seed by seed, and write the table."""
    output: Path = options["output"]
    if not options["table_only"]:
        _measure(output, options)
    text = table(rows_of(read(output)))
    output.with_suffix(".md").write_text(text)
    click.echo(text)


def _setting(model: nn.Module, held_out: int) -> Setting:
    train_set, test_set = mnist()
    if held_out:
        test_set = train_set.subset(slice(len(train_set) - held_out, None))
        train_set = train_set.subset(slice(0, len(train_set) - held_out))
    return Setting(model, train_set, test_set, with_scores(train_set, model))


def _measure(output: Path, options: dict[str, Any]) -> None:
    schedule = {field.name: options[field.name] for field in fields(Schedule)}
    model = dense("lenet5")
    state = state_digest(model)
    wanted = [
        {
            "method": method,
            "target": target,
            "seed": seed,
            "schedule": schedule,
            "dense_state": state,
        }
        for seed in options["seeds"]
        for target in options["targets"]
        for method in options["methods"]
    ]
    rest = missing(read(output), wanted)
    click.echo(f"{len(wanted) - len(rest)} of {len(wanted)} rows are there already")
    if not rest:
        return
    setting = _setting(model, options["held_out"])
    for one in rest:
        set_up(one["seed"], options["threads"])
        record = one_row(setting, Schedule(**schedule), one["method"], one["target"], one["seed"])
        made_of = {"schedule": schedule, "dense_state": state}
        append(output, {**record, **made_of, **conditions(one["seed"])})
        click.echo(
            f"{one['method']} {one['target']} seed {one['seed']}: {record['error']:.2f} % after "
            f"{record['seconds_compress'] + record['seconds_finetune']:.0f} s"
        )


if __name__ == "__main__":
    main()
