"""Rows of the CIFAR-10 tables: one dense model cut in several ways under one schedule."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.baselines import CIFAR_AUGMENT, dense, state_digest
from benchmarks.compressing import Task, fine_tune
from benchmarks.conditions import append, conditions, read, set_up
from benchmarks.data import Images, loader
from benchmarks.measure import macs, parameters, widths
from benchmarks.paper.cutting import Ranked, plan_for, rank
from benchmarks.training import error_percent
from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.choosing.plan import Plan
from graphprune.cutting import cut, prove
from graphprune.errors import CertificateError
from graphprune.training.devices import Runtime
from graphprune.training.finetune import FinetuneConfig
from graphprune.training.recalibrate import recalibrate_batchnorm
from graphprune.training.reconstruct import ReconstructConfig, reconstruct

DENSE = "dense"
DENSE_TUNED = "dense, tuned on"


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        method: how channels are ranked, as ``method_and_learning`` reads it; or DENSE, the dense
            model as it is, or DENSE_TUNED, the dense model under the same further schedule.
        target: what stays: a budget such as ``macs=0.476``, or ``widths=34-34-68``.
        ranking: ``local``, ``global`` or ``isomorphic``.
        inner: only channels between two kernels go, so that residual streams keep theirs.
        tuned: fine-tuned after the cut.
    """

    method: str
    target: str = ""
    ranking: str = "local"
    inner: bool = False
    tuned: bool = True


@dataclass(frozen=True)
class Schedule:
    """Data and training of every row.

    Attributes:
        train_images: the first so many images train; None: all 50,000.
        test_images: the first so many are tested on; None: all 10,000.
        probe_images: of these, how many judge a model right after its cut.
        rank_images: the first so many training images rank the channels.
        epochs: passes of fine-tuning.
        learn_epochs: passes over the ranking's images that learn switches.
        lr: peak rate of fine-tuning (SGD with Nesterov momentum).
        batch_size: images a step.
        recalibrate: batches on which batch norms are re-estimated after the cut.
        reconstruct: batches of 128 on which layers are fitted to the dense model's answers instead;
            0: they are not.
        augment: shift and mirror while fine-tuning. The dense model then teaches on every batch as
            it comes; without it, it is asked once for each image.
    """

    train_images: int | None = None
    test_images: int | None = None
    probe_images: int | None = None
    rank_images: int | None = None
    epochs: int = 1
    learn_epochs: int = 1
    lr: float = 0.05
    batch_size: int = 128
    recalibrate: int = 20
    reconstruct: int = 0
    augment: bool = True


@dataclass(frozen=True)
class Bench:
    """A dense model with its data, and where and how its rows are measured.

    ``log`` takes a line for each row; records go to ``output``, and rows that are there already are
    not measured again.
    """

    baseline: str
    images: tuple[Images, Images]
    schedule: Schedule
    output: Path
    seed: int = 0
    compiled: bool = False
    log: Callable[[str], None] = lambda line: None

    def task(self) -> Task:
        """What fine-tuning and the tests see."""
        schedule, (train, test) = self.schedule, self.images
        return Task(
            without_dropout(dense(self.baseline)),
            train.subset(slice(schedule.train_images)),
            test.subset(slice(schedule.test_images)),
            CIFAR_AUGMENT if schedule.augment else None,
            schedule.batch_size,
            self.compiled,
        )


def without_dropout(model: nn.Module) -> nn.Module:
    """The model itself, its dropout off: what a hard cut leaves is too narrow for any."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def use_device(name: str) -> torch.device:
    """The device that ``auto`` (a GPU where there is one) or ``cpu`` means, for all training."""
    if name == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    return Runtime().device


def inner_groups(analysis: Analysis) -> tuple[ChannelGroup, ...]:
    """Groups whose channels one kernel (or weight matrix) brings forth and one alone reads."""
    found = []
    for group in analysis.groups:
        kernels = [m for m in group.members if len(analysis.leaves[m.parameter][1]) > 1]
        if sorted(member.dim for member in kernels) == [0, 1]:
            found.append(group)
    return tuple(found)


def cut_row(ranked: Ranked, row: Row) -> tuple[Captured, Plan]:
    """The small model of a row, in channels_last, and the plan that it was cut by."""
    analysis = ranked.analysis
    if row.inner:
        analysis = replace(analysis, groups=inner_groups(analysis))
    plan = plan_for(replace(ranked, analysis=analysis), row.target, row.ranking)
    small = cut(ranked.captured, ranked.analysis, plan)
    small.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return small, plan


def costs(model: nn.Module, task: Task) -> dict[str, Any]:
    """Parameters, MACs and widths, counted."""
    return {
        "parameters": parameters(model),
        "macs": macs(model, task.example),
        "widths": widths(model),
    }


def measure(bench: Bench, rows: Iterable[Row]) -> None:
    """Measure the rows that the output does not hold yet; each is written when it is done.

    Rows of another dense model, or from before it was recorded, do not count.
    """
    task = bench.task()
    setting = {
        "dense_state": state_digest(task.model),
        "baseline": bench.baseline,
        "schedule": asdict(bench.schedule),
        "compiled": bench.compiled,
        "seed": bench.seed,
    }
    held = read(bench.output)
    left = [row for row in rows if not _is_held(held, {**setting, "row": asdict(row)})]
    if not left:
        return
    ranked: dict[str, Ranked] = {}  # by method, once for all of its rows
    for row in left:
        set_up(bench.seed, torch.get_num_threads())
        started = time.perf_counter()
        if row.method in (DENSE, DENSE_TUNED):
            record = _dense_record(bench, task, row)
        else:
            if row.method not in ranked:
                ranked[row.method] = _rank(bench, task, row.method)
            record = _small_record(bench, task, ranked[row.method], row)
        record["seconds"] = round(time.perf_counter() - started, 1)
        device = _device_name(bench.images[0].pixels.device)
        where = {"device": device, **conditions(bench.seed)}
        append(bench.output, {**setting, "row": asdict(row), **record, **where})
        bench.log(f"{row}: {record}")


def dense_record(
    records: Iterable[dict[str, Any]], record: dict[str, Any]
) -> dict[str, Any] | None:
    """The row of the dense model that another was made of; old rows do not say, nor does theirs."""
    state = record.get("dense_state")
    same = (r for r in records if r.get("dense_state") == state and r["row"]["method"] == DENSE)
    return next(same, None)


def _is_held(records: Iterable[dict[str, Any]], wanted: dict[str, Any]) -> bool:
    return any(wanted == {key: record.get(key) for key in wanted} for record in records)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _rank(bench: Bench, task: Task, method: str) -> Ranked:
    images = task.train.subset(slice(bench.schedule.rank_images))
    return rank(replace(task, train=images), method, bench.seed, epochs=bench.schedule.learn_epochs)


def _dense_record(bench: Bench, task: Task, row: Row) -> dict[str, Any]:
    model = copy.deepcopy(task.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if row.method == DENSE_TUNED:
        fine_tune(model, task, _tuning(bench))
    return {**costs(model, task), "error": error_percent(model, task.test)}


def _small_record(bench: Bench, task: Task, ranked: Ranked, row: Row) -> dict[str, Any]:
    small, plan = cut_row(ranked, row)
    probe = task.test.subset(slice(bench.schedule.probe_images))
    record = {**costs(small.module, task), "error_cut": error_percent(small.module, probe)}
    if bench.schedule.reconstruct:
        batches = loader(task.train, 128, shuffle=True, seed=bench.seed)
        config = ReconstructConfig(batches=bench.schedule.reconstruct)
        reconstruct(small, ranked.analysis, plan, batches, config)
        record["error_reconstructed"] = error_percent(small.module, probe)
    else:
        batches = loader(task.train, task.batch_size, shuffle=True, seed=bench.seed)
        recalibrate_batchnorm(small.module, batches, bench.schedule.recalibrate)
        record["error_recalibrated"] = error_percent(small.module, probe)
    try:
        # Only now: a hard cut may leave no signal until its norms are re-estimated.
        prove(small, ranked.analysis, plan, bench.seed, trained=True)
    except CertificateError as failure:
        return {**record, "failed": str(failure)}
    if row.tuned:
        tuned = fine_tune(small.module, task, _tuning(bench))
        record["seconds_finetune"] = round(tuned.seconds, 1)
        record["error"] = error_percent(small.module, task.test)
    return record


def _tuning(bench: Bench) -> FinetuneConfig:
    return FinetuneConfig(epochs=bench.schedule.epochs, lr=bench.schedule.lr, seed=bench.seed)


def fitted(record: dict[str, Any]) -> str:
    """For a table: the images that layers were fitted on, and the accuracy right after."""
    if "error_reconstructed" not in record:
        return ""
    images = 128 * record["schedule"]["reconstruct"]
    return f"{images:,}: {100 - record['error_reconstructed']:.1f} %"


def rate(record: dict[str, Any]) -> str:
    """For a table: the peak rate of fine-tuning."""
    tuned = "error" in record and record["row"]["method"] != DENSE
    return f"{record['schedule']['lr']:g}" if tuned else ""


def seen(record: dict[str, Any]) -> str:
    """For a table: how many images fine-tuning saw, those seen twice counted twice."""
    if not rate(record):
        return ""
    schedule = record["schedule"]
    return f"{schedule['epochs'] * (schedule['train_images'] or 50_000):,}"
