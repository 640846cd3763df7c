"""Target ``auto`` on LeNet-5: what goes at which confidence, and what that costs in accuracy.

The switches of a method are learned once and cut at every cut-off asked for. ``--model demo`` is
the briefly trained network of ``make demo``; ``--model lenet5`` needs
``python -m benchmarks.baselines lenet5`` first.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from benchmarks.baselines import dense
from benchmarks.compressing import Task, fine_tune
from benchmarks.conditions import RESULTS, append, conditions, set_up
from benchmarks.data import Images, loader, mnist
from benchmarks.demo import TEST_IMAGES, TRAIN_IMAGES, train
from benchmarks.measure import macs, parameters
from benchmarks.options import one_line_errors
from benchmarks.training import error_percent
from graphprune import AutoTarget, LearnConfig, analyse, capture, cut_off
from graphprune.cutting import cut, prove
from graphprune.errors import TargetError
from graphprune.importance.methods import make_method
from graphprune.importance.scoring import score_channels
from graphprune.training.finetune import FinetuneConfig


def task_of(name: str, train_images: int | None) -> Task:
    """The model, and the images that it was trained on."""
    train_set, test_set = mnist()
    if name == "demo":
        train_set = _plain(train_set.subset(slice(0, TRAIN_IMAGES)))
        test_set = _plain(test_set.subset(slice(0, TEST_IMAGES)))
        model = train(train_set.pixels[:, 0].numpy(), train_set.labels.numpy(), steps=300)
    else:
        model = dense(name)
    # Fewer images for the switches show what the amount of data does to the posterior.
    return Task(model, train_set.subset(slice(0, train_images)), test_set, batch_size=64)


def _plain(images: Images) -> Images:
    """Pixels on [0, 1], as the demo has them."""
    return replace(images, mean=(0.0,), std=(1.0,))


def compress_at(
    task: Task, learn: LearnConfig, method: str, targets: list[AutoTarget], epochs: int
) -> Iterator[dict[str, Any]]:
    """One record for each target, of switches learned once; ``epochs`` are of fine-tuning."""
    captured = capture(task.model, task.example)
    analysis = analyse(captured.module)
    started = time.perf_counter()
    batches = loader(task.train, task.batch_size, shuffle=True, seed=learn.seed)
    scores = score_channels(captured, analysis, make_method(method), batches, learn=learn)
    seconds = round(time.perf_counter() - started, 1)
    whole, analysis = scores.trained or (captured, analysis)  # what the switches learned with
    for target in targets:
        record: dict[str, Any] = {"target": str(target), "seconds_learn": seconds}
        try:
            choice = cut_off(analysis, scores, target)
        except TargetError as error:
            yield record | {"refused": str(error)}
            continue
        captured = cut(whole, analysis, choice.plan)
        prove(captured, analysis, choice.plan, learn.seed)
        small = captured.module
        record |= {
            "widths": [after for _, after in choice.plan.widths.values()],
            "parameters": parameters(small),
            "macs": macs(small, task.example),
            "error_pruned": error_percent(small, task.test),
        }
        if epochs:
            tuning = FinetuneConfig(
                epochs=epochs, optimizer="adamw", lr=0.005, weight_decay=0.0, seed=learn.seed
            )
            record["seconds_finetune"] = round(fine_tune(small, task, tuning).seconds, 1)
            record["error"] = error_percent(small, task.test)
        yield record


@click.command()
@click.option("--model", type=click.Choice(["demo", "lenet5"]), default="demo", show_default=True)
@click.option("--method", "methods", multiple=True, default=("dirichlet",), show_default=True)
@click.option("--confidence", multiple=True, type=float, default=(0.95,), show_default=True)
@click.option("--share", multiple=True, type=float, default=(0.5,), show_default=True)
@click.option("--switch-epochs", multiple=True, type=int, default=(1,), show_default=True)
@click.option("--kl-weight", default=1.0, show_default=True)
@click.option("--finetune-epochs", default=0, show_default=True)
@click.option("--train-images", type=click.IntRange(1), help="Learn from the first so many images.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "auto_target.jsonl",
    show_default=False,
    help="JSON lines, appended to.",
)
@one_line_errors
def main(**options: Any) -> None:
    """Cut LeNet-5 by target auto and write what was removed, and the test error."""
    seed, output = options["seed"], options["output"]
    set_up(seed, options["threads"])
    task = task_of(options["model"], options["train_images"])
    asked = {key: options[key] for key in ("model", "kl_weight", "finetune_epochs")}
    asked["train_images"] = len(task.train)
    whole = {"error": error_percent(task.model, task.test), "macs": macs(task.model, task.example)}
    append(output, {**asked, "method": "dense", **whole, **conditions(seed)})
    click.echo(f"dense: {whole}")
    targets = [
        AutoTarget(*pair) for pair in itertools.product(options["confidence"], options["share"])
    ]
    for method, epochs in itertools.product(options["methods"], options["switch_epochs"]):
        learn = LearnConfig(epochs=epochs, kl_weight=options["kl_weight"], seed=seed, spread=True)
        for record in compress_at(task, learn, method, targets, options["finetune_epochs"]):
            line = {**asked, "method": method, "switch_epochs": epochs, **record}
            append(output, {**line, **conditions(seed)})
            click.echo(line)


if __name__ == "__main__":
    main()
