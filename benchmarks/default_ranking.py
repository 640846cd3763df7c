"""Whether the default ranking is worth having: accuracy right after the cut, next to controls.

A dense model, few images to rank its channels on, about half of its MACs. Nothing is trained
afterwards; where there are batch norms, accuracy is also measured with their statistics
re-estimated. The dense models are those of benchmarks.baselines, ``demo`` that of ``make demo``,
and ``lstm`` a recurrent one trained on the same images.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import click
import torch
from torch import nn

from benchmarks import demo
from benchmarks.baselines import BASELINES, dense
from benchmarks.conditions import RESULTS, append, conditions, markdown_table, read, set_up
from benchmarks.data import Images, loader, mnist
from benchmarks.models.lenet import LeNet5
from benchmarks.models.row_lstm import RowLSTM
from benchmarks.options import one_line_errors
from benchmarks.paper.cifar import inner_groups
from benchmarks.training import error_percent
from graphprune import LearnConfig, analyse, capture, choose
from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.cutting import cut
from graphprune.importance.methods import make_method
from graphprune.importance.scoring import score_channels
from graphprune.training.recalibrate import recalibrate_batchnorm

OUTPUT = RESULTS / "default_ranking.jsonl"
BATCH = 64  # that of the command line
CALIBRATION_BATCHES = 8
# By network: test images, and each budget with whether residual streams keep their channels.
CUTS: dict[str, tuple[int, tuple[tuple[str, bool], ...]]] = {
    "resnet20": (1000, (("macs=0.5", False), ("macs=0.5", True))),
    "resnet56": (500, (("macs=0.5", False), ("macs=0.5", True))),
    "lenet5": (5_000, (("macs=0.5", False), ("macs=0.2", False), ("macs=0.08", False))),
    "demo": (2_000, (("macs=0.5", False), ("macs=0.2", False), ("macs=0.08", False))),
    "lstm": (2_000, (("macs=0.7", False), ("macs=0.5", False), ("macs=0.3", False))),
}


# Trained here, on the images of the demo: the network and its number of steps.
_ON_FEW: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "demo": (LeNet5, 300),
    "lstm": (RowLSTM, 1500),
}


@dataclass(frozen=True)
class Setting:
    """A method and how its switches are learned; ``batch`` None: as the default has it."""

    method: str = "dirichlet"
    learn: LearnConfig = dataclasses.field(default_factory=LearnConfig)
    batch: int | None = BATCH


def _for_steps(steps: int) -> LearnConfig:
    return LearnConfig(epochs=steps, max_steps=steps)


SETTINGS = {
    "default": Setting(batch=None),
    "one pass": Setting(learn=LearnConfig(epochs=1)),
    "300 steps of 64": Setting(learn=_for_steps(300)),
    **{name: Setting(name) for name in ("l2", "fpgm", "taylor", "random")},
}


@dataclass(frozen=True)
class Subject:
    """A dense model with the images that rank its channels and those that judge the cut."""

    name: str
    model: nn.Module
    few: Images
    test: Images

    @cached_property
    def graph(self) -> tuple[Captured, Analysis]:
        """The captured model and its channel groups."""
        captured = capture(self.model, (self.few.normalise(self.few.pixels[:2]),))
        return captured, analyse(captured.module)


@lru_cache(maxsize=1)
def subject(name: str, images: int, seed: int) -> Subject:
    """The dense model ``name`` with ``images`` training images, drawn by the seed."""
    if name in _ON_FEW:
        kind, steps = _ON_FEW[name]
        train, test = (dataclasses.replace(part, mean=(0.0,), std=(1.0,)) for part in mnist())
        train = train.subset(slice(demo.TRAIN_IMAGES))
        model = demo.train(train.pixels[:, 0].numpy(), train.labels.numpy(), steps, kind=kind)
    else:
        (train, test), model = BASELINES[name].images(), dense(name)
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:images]
    return Subject(name, model, train.subset(drawn), test.subset(slice(CUTS[name][0])))


def scores_of(subject: Subject, setting: Setting, seed: int) -> dict[str, torch.Tensor]:
    """Scores of all channels, by group."""
    method, learn = make_method(setting.method), dataclasses.replace(setting.learn, seed=seed)
    batch = setting.batch or learn.batch_size(len(subject.few), BATCH)
    data = loader(subject.few, batch, shuffle=True, seed=seed)
    return score_channels(*subject.graph, method, data, learn=learn).by_group


def judge(
    subject: Subject, scores: dict[str, torch.Tensor], cuts: tuple[tuple[str, bool], ...]
) -> dict[str, list[float]]:
    """Accuracy in per cent after each cut, and where there are batch norms, after re-estimation."""
    captured, analysis = subject.graph
    found = {}
    for budget, inner in cuts:
        groups = inner_groups(analysis) if inner else analysis.groups
        plan = choose(dataclasses.replace(analysis, groups=groups), scores, budget).plan
        small = cut(captured, analysis, plan).module
        reached = [round(100 - error_percent(small, subject.test), 2)]
        batches = loader(subject.few, BATCH, shuffle=True)
        if recalibrate_batchnorm(small, batches, CALIBRATION_BATCHES):
            reached.append(round(100 - error_percent(small, subject.test), 2))
        found[f"{budget}, inner" if inner else budget] = reached
    return found


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: for each network and number of images, means over the seeds."""
    lines = []
    for network, images in dict.fromkeys((r["network"], r["images"]) for r in records):
        here = [r for r in records if (r["network"], r["images"]) == (network, images)]
        columns = list(here[0]["accuracy"])
        lines.append(f"### {network}, {images:,} images\n")
        rows = []
        for setting in dict.fromkeys(r["setting"] for r in here):
            runs = [r for r in here if r["setting"] == setting]
            cells = [_cell([r["accuracy"][column] for r in runs]) for column in columns]
            seconds = statistics.mean(r["seconds"] for r in runs)
            rows.append((setting, *cells, len(runs), f"{seconds:.0f}"))
        lines.append(markdown_table(("ranking", *columns, "seeds", "s"), rows))
    return "\n".join(lines)


def _cell(runs: list[list[float]]) -> str:
    """Means over the runs, of the plain cut and of the re-estimated one; with their spread."""
    shown = []
    for values in zip(*runs, strict=True):
        half = (max(values) - min(values)) / 2
        spread = f" ± {half:.1f}" if len(values) > 1 else ""
        shown.append(f"{statistics.mean(values):.1f}{spread}")
    return " → ".join(shown)


@click.command()
@click.option("--network", type=click.Choice(list(CUTS)), default="resnet20", show_default=True)
@click.option("--images", default=1000, show_default=True, help="Training images that rank.")
@click.option("--seed", "seeds", multiple=True, default=(0, 1), show_default=True)
@click.option("--setting", "names", multiple=True, type=click.Choice(list(SETTINGS)))
@click.option("--threads", default=1, show_default=True, help="Torch threads.")
@click.option("--table", "table_only", is_flag=True, help="Only print the table of the records.")
@one_line_errors
def main(network: str, images: int, threads: int, table_only: bool, **options: Any) -> None:
    """Rank by each setting, cut, measure; records there are already are not made again.

    Example: python -m benchmarks.default_ranking --network lenet5 --images 500
    """
    asked = [(s, n) for s in options["seeds"] for n in options["names"] or SETTINGS]
    for seed, name in [] if table_only else asked:
        key = {"network": network, "images": images, "setting": name, "seed": seed}
        if any(key.items() <= record.items() for record in read(OUTPUT)):
            continue
        set_up(seed, threads)
        given = subject(network, images, seed)
        started = time.perf_counter()
        scores = scores_of(given, SETTINGS[name], seed)
        seconds = round(time.perf_counter() - started, 1)
        found = judge(given, scores, CUTS[network][1])
        append(OUTPUT, {**conditions(seed), **key, "seconds": seconds, "accuracy": found})
        click.echo(f"{network}, {images} images, {name}, seed {seed}: {found}", err=True)
    click.echo(table(read(OUTPUT)))


if __name__ == "__main__":
    main()
