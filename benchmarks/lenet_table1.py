"""LeNet-5 on MNIST beside Table 1 of "Dirichlet Pruning for Neural Network Compression".

Needs the dense model first: ``python -m benchmarks.baselines lenet5``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmarks.baselines import dense
from benchmarks.compressing import METHODS, Choice, MethodName, Task, compress_and_measure
from benchmarks.conditions import RESULTS, append, conditions, markdown_table, read, set_up
from benchmarks.data import Augment, mnist
from benchmarks.measure import macs, parameters
from benchmarks.training import error_percent
from graphprune.finetune import FinetuneConfig

# Method, architecture, test error in per cent, FLOPs (multiply-accumulates), parameters.
PAPER = (
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


def beaten_by(record: dict[str, Any]) -> list[str]:
    """Methods of the paper's table with a lower error and, at once, fewer parameters or MACs."""
    return [
        name
        for name, _, error, flops, params in PAPER
        if error < record["error"] and (flops < record["macs"] or params < record["parameters"])
    ]


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: the paper's rows, then ours in order of cost."""
    heads = ("method", "architecture", "error %", "MACs", "parameters", "seed", "s", "beaten by")
    rows: list[tuple[object, ...]] = [
        (f"{name} (paper)", widths, error, flops, params, "", "", "")
        for name, widths, error, flops, params in PAPER
    ]
    for record in sorted(records, key=lambda r: (r["parameters"], r["macs"])):
        seconds = record.get("seconds_compress", 0) + record.get("seconds_finetune", 0)
        rows.append(
            (
                f"{record['method']} {record['target']} {record['ranking']}",
                "-".join(map(str, record["widths"])),
                f"{record['error']:.2f}",
                record["macs"],
                record["parameters"],
                record["seed"],
                f"{seconds:.0f}",
                ", ".join(beaten_by(record)) or "none",
            )
        )
    return markdown_table(heads, rows)


@click.command()
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=MethodName(),
    default=(*METHODS, "l1", "l2", "random"),
    help="Repeatable; default: all variants of dirichlet, l1, l2, random.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    default=("params=0.013", "params=0.02", "macs=0.045"),
    show_default=True,
    help="Repeatable; what stays of the dense model.",
)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True)
@click.option("--learn-epochs", default=1, show_default=True, help="Of the switches.")
@click.option("--finetune-epochs", default=20, show_default=True)
@click.option("--lr", default=0.005, show_default=True, help="Peak rate of fine-tuning (AdamW).")
@click.option("--shift", default=0, show_default=True, help="Augmentation: pixels moved at most.")
@click.option(
    "--ranking", type=click.Choice(["local", "global"]), default="local", show_default=True
)
@click.option("--train-images", type=click.IntRange(1), help="Use only the first so many images.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "lenet_table1.jsonl",
    show_default=False,
    help="JSON lines, appended to; the table lands beside it as .md.",
)
@click.option("--table-only", is_flag=True, help="Only write the table of the results so far.")
def main(**options: Any) -> None:
    """Compress LeNet-5 by every method to every target and write the table."""
    output: Path = options["output"]
    if not options["table_only"]:
        _measure(output, options)
    text = table([record for record in read(output) if record["method"] != "dense"])
    output.with_suffix(".md").write_text(text)
    click.echo(text)


def _measure(output: Path, options: dict[str, Any]) -> None:
    train_set, test_set = mnist()
    if options["train_images"] is not None:
        train_set = train_set.subset(slice(0, options["train_images"]))
    augment = Augment(shift=options["shift"]) if options["shift"] else None
    task = Task(dense("lenet5"), train_set, test_set, augment)
    schedule = {key: options[key] for key in ("learn_epochs", "finetune_epochs", "lr", "shift")}
    append(
        output,
        {
            "method": "dense",
            "error": error_percent(task.model, test_set),
            "parameters": parameters(task.model),
            "macs": macs(task.model, task.example),
            **conditions(0),
        },
    )
    for seed in options["seeds"]:
        for target in options["targets"]:
            for method in options["methods"]:
                set_up(seed, options["threads"])
                tuning = FinetuneConfig(
                    epochs=options["finetune_epochs"],
                    optimizer="adamw",
                    lr=options["lr"],
                    weight_decay=0.0,
                    seed=seed,
                )
                choice = Choice(
                    method, target, seed, options["learn_epochs"], options["ranking"], tuning
                )
                _, record = compress_and_measure(task, choice)
                record |= {
                    "train_images": len(train_set),
                    "schedule": schedule,
                    **conditions(seed),
                }
                append(output, record)
                click.echo(f"{method} {target} seed {seed}: {record}")


if __name__ == "__main__":
    main()
