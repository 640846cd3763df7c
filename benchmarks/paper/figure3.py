"""Figure 3 of "Dirichlet Pruning for Neural Network Compression": who finds the best channels.

A pool of sub-architectures is fixed. Every method ranks the channels of the same dense model, keeps
the best of each layer in each sub-architecture, and the test error is measured without retraining.
Needs the dense model first: ``python -m benchmarks.baselines lenet5`` (or ``vgg16_quarter``).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import numpy as np
from torch import fx

from benchmarks.baselines import BASELINES, dense, state_digest
from benchmarks.compressing import MethodName, Task
from benchmarks.conditions import RESULTS, append, conditions, read, set_up
from benchmarks.data import loader
from benchmarks.measure import parameters
from benchmarks.options import one_line_errors
from benchmarks.paper.cutting import Ranked, plan_at_widths, rank, small_model
from benchmarks.paper.figure3_table import SETS, tables
from benchmarks.paper.pool import Widths, errors
from benchmarks.training import error_percent
from graphprune.training.recalibrate import recalibrate_batchnorm

EVAL_BATCH = 1000
PROVED = 3
"""Sub-architectures of each pool that are cut, proved and measured as well."""


@dataclass(frozen=True)
class Pool:
    """Sub-architectures: each part of the layers keeps one of several shares of its channels.

    ``layers`` counts the layers of each part, ``shares`` what they may keep.
    """

    layers: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]

    def widths(self, sizes: tuple[int, ...]) -> list[Widths]:
        """Every combination for layers of these sizes; the last layers vary fastest."""
        assert sum(self.layers) == len(sizes)
        found = []
        for chosen in itertools.product(*self.shares):
            shares = np.repeat(chosen, self.layers)
            found.append(tuple(round(n * s) for n, s in zip(sizes, shares, strict=True)))
        return found


LENET, VGG = (1, 1, 1), (2, 2, 3, 2, 2, 2, 1)
# The paper says "a compression rate around 20-60 %", and its table 3 has the share of parameters
# that went under that heading: "removed". Where 20-60 % stay ("kept") the methods differ more.
POOLS: dict[str, dict[str, Pool]] = {
    "lenet5": {
        "removed": Pool(
            LENET,
            (
                (0.7, 0.8, 0.9),
                (0.66, 0.7, 0.76, 0.8, 0.84, 0.88),
                (0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
            ),
        ),
        "kept": Pool(
            LENET,
            (
                (0.5, 0.6, 0.7),
                (0.46, 0.5, 0.56, 0.6, 0.66, 0.7),
                (0.45, 0.52, 0.6, 0.68, 0.76, 0.84),
            ),
        ),
    },
    "vgg16_quarter": {
        "removed": Pool(VGG, ((0.65, 0.88),) * len(VGG)),
        "kept": Pool(VGG, ((0.46, 0.75),) * len(VGG)),
    },
}


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes:
        rank_images: training images that rank the channels.
        rank_epochs: passes over them of switches.
        test_images: that errors are measured on.
        sample: sub-architectures, drawn from the pool by a fixed seed; None: all.
        calibrate: training images that batch norms are re-estimated on after a cut; 0: they stay
            as they are.
        rank_batch: images a step of learning switches.
    """

    rank_images: int
    rank_epochs: int
    test_images: int
    sample: int | None = None
    calibrate: int = 0
    rank_batch: int = 100


def sampled(pool: list[Widths], count: int | None) -> list[Widths]:
    """So many of the pool, in its order; always the same."""
    if count is None or count >= len(pool):
        return pool
    chosen = np.random.default_rng(0).choice(len(pool), count, replace=False)
    return [pool[place] for place in sorted(chosen.tolist())]


def sizes_of(ranked: Ranked) -> tuple[int, ...]:
    """Channels of each group of the dense model."""
    return tuple(group.size for group in ranked.analysis.groups)


def checked_equal(
    ranked: Ranked, pool: list[Widths], found: list[float], judge: Callable[[fx.GraphModule], float]
) -> dict[str, Any]:
    """Cut and prove a few of the pool, and compare their errors with the pool's.

    Args:
        ranked: the dense model and the importance of its channels.
        pool, found: sub-architectures and their errors in per cent.
        judge: error of a model in per cent.

    Raises:
        AssertionError: a cut model errs on more or fewer images than rounding explains.
    """
    places = np.linspace(0, len(pool) - 1, PROVED).round().astype(int).tolist()
    kept = []
    for place in places:
        small = small_model(ranked, plan_at_widths(ranked, pool[place]))
        difference = abs(judge(small) - found[place])
        assert difference < 0.02, f"{pool[place]}: {difference} points apart from the cut model"
        kept.append(round(parameters(small) / parameters(ranked.captured.module), 3))
    return {"proved": len(places), "parameters_kept": kept}


def measure(task: Task, layout: Pool, method: str, seed: int, scale: Scale) -> dict[str, Any]:
    """The method's errors on the whole pool, in per cent of ``task.test``; seconds are CPU time."""
    started = time.process_time()
    ranked = rank(task, method, seed, scale.rank_epochs)
    ranking = time.process_time() - started
    pool = sampled(layout.widths(sizes_of(ranked)), scale.sample)
    calibration = task.train.normalise(task.train.pixels[: scale.calibrate])
    given = calibration if scale.calibrate else None
    found = errors(ranked, pool, loader(task.test, EVAL_BATCH), given)

    def judge(small: fx.GraphModule) -> float:
        if scale.calibrate:
            recalibrate_batchnorm(small, [((calibration,), None)])
        return error_percent(small, task.test)

    proof = checked_equal(ranked, pool, found, judge)
    return {
        "errors": [round(one, 3) for one in found],
        "seconds_rank": round(ranking, 1),
        "seconds_pool": round(time.process_time() - started - ranking, 1),
        **proof,
    }


@click.command()
@click.option("--model", type=click.Choice(sorted(POOLS)), default="lenet5", show_default=True)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=MethodName(),
    default=SETS["all"],
    help="Repeatable; default: every method of the figure.",
)
@click.option(
    "--pool",
    "pools",
    multiple=True,
    type=click.Choice(["removed", "kept"]),
    default=("removed", "kept"),
    help="Repeatable: 20-60 % of the parameters go, or stay; default: both.",
)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True)
@click.option(
    "--rank-images",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="The first so many.",
)
@click.option(
    "--rank-epochs", type=click.IntRange(1), default=1, show_default=True, help="Of switches."
)
@click.option(
    "--rank-batch",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Images a step of switches.",
)
@click.option(
    "--test-images",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="The first so many.",
)
@click.option("--sample", type=click.IntRange(1), help="Only so many of the pool; default: all.")
@click.option(
    "--calibrate",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Re-estimate batch norms after each cut on the first so many training images.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "figure3.jsonl",
    show_default=False,
    help="JSON lines, appended to; what is there, of the same dense model, is not run again. The "
    "tables land beside as .md.",
)
@click.option("--table-only", is_flag=True, help="Only write the tables of the results so far.")
@one_line_errors
def main(**options: Any) -> None:
    """Measure the pools of a model by every method, seed by seed, and write the tables."""
    output: Path = options["output"]
    if not options["table_only"]:
        _measure(output, options)
    text = tables(read(output))
    output.with_suffix(".md").write_text(text)
    click.echo(text)


def _measure(output: Path, options: dict[str, Any]) -> None:
    model = options["model"]
    scale = Scale(**{one.name: options[one.name] for one in fields(Scale)})
    train_set, test_set = BASELINES[model].images()
    task = Task(
        dense(model),
        train_set.subset(slice(scale.rank_images)),
        test_set.subset(slice(scale.test_images)),
        batch_size=scale.rank_batch,
    )
    state = state_digest(task.model)
    dense_error = error_percent(task.model, task.test)
    runs = itertools.product(options["seeds"], options["pools"], options["methods"])
    for seed, pool, method in runs:
        key = {"model": model, "pool": pool, "method": method, "seed": seed, "scale": vars(scale)}
        key |= {"dense_state": state}
        if any(all(one.get(k) == key[k] for k in key) for one in read(output)):
            continue
        set_up(seed, options["threads"])
        record = measure(task, POOLS[model][pool], method, seed, scale)
        append(output, {**conditions(seed), **key, "dense_error": dense_error, **record})
        mean = sum(record["errors"]) / len(record["errors"])
        click.echo(f"{model} {pool} {method} seed {seed}: mean error {mean:.2f} %")


if __name__ == "__main__":
    main()
