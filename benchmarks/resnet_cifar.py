"""ResNet-56 or ResNet-20 on JPEG CIFAR-10 to 2.1 times fewer MACs, by several methods.

Needs the dense model first: ``python -m benchmarks.baselines resnet20``. The images are JPEG
re-encodings, so accuracies are compared with the dense model of the same data and, for a fair
account of the schedule, with the dense model fine-tuned by the same further schedule.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import click

from benchmarks.baselines import CIFAR_AUGMENT, dense
from benchmarks.compressing import Choice, MethodName, Task, compress_and_measure, fine_tune
from benchmarks.conditions import RESULTS, append, conditions, markdown_table, read, set_up
from benchmarks.data import cifar10
from benchmarks.measure import macs, parameters
from benchmarks.training import error_percent
from graphprune.finetune import FinetuneConfig

DENSE = "dense"
DENSE_TUNED = "dense, tuned on"


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: accuracies in per cent, and the change from the dense model, by method."""
    heads = ("model", "method", "MACs", "parameters", "accuracy pruned", "accuracy", "change", "s")
    base = {record["model"]: record for record in records if record["method"] == DENSE}
    rows = []
    for record in records:
        start = base.get(record["model"])  # None where the dense rows are in another file
        pruned = record.get("error_pruned")
        seconds = record.get("seconds_compress", 0) + record.get("seconds_finetune", 0)
        rows.append(
            (
                record["model"],
                record["method"],
                f"{record['macs']} ({start['macs'] / record['macs']:.2f}x fewer)"
                if start
                else record["macs"],
                record["parameters"],
                "" if pruned is None else f"{100 - pruned:.2f}",
                f"{100 - record['error']:.2f}",
                f"{start['error'] - record['error']:+.2f}" if start else "",
                f"{seconds:.0f}",
            )
        )
    return markdown_table(heads, rows)


def dense_record(task: Task, tuning: FinetuneConfig | None) -> dict[str, Any]:
    """The dense model as it is, or (``tuning``) after the same fine-tuning as the small ones.

    The same means the same objective too: distillation from the dense model as it was.
    """
    model, seconds = task.model, 0.0
    if tuning is not None:
        model = copy.deepcopy(task.model)
        seconds = fine_tune(model, task, tuning).seconds
    return {
        "method": DENSE if tuning is None else DENSE_TUNED,
        "parameters": parameters(model),
        "macs": macs(model, task.example),
        "error": error_percent(model, task.test),
        "seconds_finetune": round(seconds, 1),
    }


@click.command()
@click.option(
    "--model", type=click.Choice(["resnet20", "resnet56"]), default="resnet20", show_default=True
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=MethodName(),
    default=("mean", "l2", "random"),
    show_default=True,
    help="Repeatable; a short name of compressing.METHODS, or name{option=value,...}.",
)
@click.option("--target", default="macs=0.476", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--learn-epochs", default=1, show_default=True, help="Of the switches.")
@click.option("--finetune-epochs", default=3, show_default=True)
@click.option("--lr", default=0.02, show_default=True, help="Peak rate of fine-tuning (SGD).")
@click.option(
    "--ranking", type=click.Choice(["local", "global"]), default="local", show_default=True
)
@click.option("--train-images", type=click.IntRange(1), help="Use only the first so many images.")
@click.option("--test-images", type=click.IntRange(1), help="Use only the first so many images.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "resnet_cifar.jsonl",
    show_default=False,
    help="JSON lines, appended to; the table lands beside it as .md.",
)
@click.option("--skip-dense", is_flag=True, help="The dense rows are there from an earlier run.")
@click.option("--table-only", is_flag=True, help="Only write the table of the results so far.")
def main(**options: Any) -> None:
    """Compress a CIFAR ResNet by several methods under one schedule and write the table."""
    output: Path = options["output"]
    if not options["table_only"]:
        _measure(output, options)
    text = table(read(output))
    output.with_suffix(".md").write_text(text)
    click.echo(text)


def _measure(output: Path, options: dict[str, Any]) -> None:
    seed, name = options["seed"], options["model"]
    train_set, test_set = cifar10()
    train_set = train_set.subset(slice(0, options["train_images"]))
    test_set = test_set.subset(slice(0, options["test_images"]))
    task = Task(dense(name), train_set, test_set, CIFAR_AUGMENT)
    tuning = FinetuneConfig(epochs=options["finetune_epochs"], lr=options["lr"], seed=seed)
    schedule = {key: options[key] for key in ("learn_epochs", "finetune_epochs", "lr")}

    def keep(record: dict[str, Any]) -> None:
        record |= {"model": name, "train_images": len(train_set), "test_images": len(test_set)}
        record |= {"schedule": schedule, **conditions(seed)}
        append(output, record)
        click.echo(str(record))

    for schedule_or_none in () if options["skip_dense"] else (None, tuning):
        set_up(seed, options["threads"])
        keep(dense_record(task, schedule_or_none))
    for method in options["methods"]:
        set_up(seed, options["threads"])
        choice = Choice(
            method, options["target"], seed, options["learn_epochs"], options["ranking"], tuning
        )
        keep(compress_and_measure(task, choice)[1])


if __name__ == "__main__":
    main()
