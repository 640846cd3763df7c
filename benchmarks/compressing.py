"""One compression of a classifier as the tables need it: choose, shrink, fine-tune, measure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import graphprune
from benchmarks.data import Augment, Images, loader
from benchmarks.measure import macs, parameters, widths
from benchmarks.training import error_percent
from graphprune.finetune import FinetuneConfig, finetune
from graphprune.learn import LearnConfig
from graphprune.objective import Objective

# Every way of choosing channels that the tables compare: a method, and how its switches learn.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("dirichlet", {"variant": "mean"}),
    "implicit-1": ("dirichlet", {"variant": "implicit", "samples": 1}),
    "implicit-5": ("dirichlet", {"variant": "implicit", "samples": 5}),
    "per-example": ("dirichlet", {"variant": "per-example"}),
    "mean-sequential": ("dirichlet", {"variant": "mean", "mode": "sequential"}),
    "per-example-sequential": ("dirichlet", {"variant": "per-example", "mode": "sequential"}),
    "mean-sum": ("dirichlet", {"variant": "mean", "scale": "sum"}),
    "l1": ("l1", {}),
    "l2": ("l2", {}),
    "random": ("random", {}),
}


@dataclass(frozen=True)
class Task:
    """What is compressed, on what data.

    ``augment`` applies to fine-tuning alone; the switches learn on the images as they are.
    """

    model: nn.Module
    train: Images
    test: Images
    augment: Augment | None = None
    batch_size: int = 128

    @property
    def example(self) -> torch.Tensor:
        """Two normalised training images, (2, C, H, W)."""
        return self.train.normalise(self.train.pixels[:2])


@dataclass(frozen=True)
class Choice:
    """How it is compressed: a key of METHODS, a target such as ``macs=0.5``, and the schedule."""

    method: str
    target: str
    seed: int = 0
    learn_epochs: int = 1
    finetune: FinetuneConfig | None = field(default_factory=FinetuneConfig)


def compress_and_measure(task: Task, choice: Choice) -> tuple[nn.Module, dict[str, Any]]:
    """The compressed model and what was measured of it, as plain data.

    Errors are in per cent of the test images, times in seconds of wall time. ``choice.finetune``
    None leaves fine-tuning out.
    """
    method, learning = METHODS[choice.method]
    options: dict[str, Any] = {}
    if learning:
        options["learn"] = LearnConfig(**learning, epochs=choice.learn_epochs, seed=choice.seed)
    started = time.perf_counter()
    compressed = graphprune.compress(
        task.model,
        (task.example,),
        target=choice.target,
        method=method,
        data=loader(task.train, task.batch_size, shuffle=True, seed=choice.seed),
        finetune_epochs=0,
        seed=choice.seed,
        **options,
    )
    small = compressed.model
    record: dict[str, Any] = {
        "method": choice.method,
        "target": choice.target,
        "seconds_compress": round(time.perf_counter() - started, 1),
        "parameters": parameters(small),
        "macs": macs(small, task.example),
        "widths": widths(small),
        "error_pruned": error_percent(small, task.test),
    }
    if choice.finetune is not None:
        batches = loader(
            task.train, task.batch_size, shuffle=True, augment=task.augment, seed=choice.seed
        )
        tuned = finetune(small, batches, choice.finetune, Objective(teacher=task.model))
        record["seconds_finetune"] = round(tuned.seconds, 1)
        record["error"] = error_percent(small, task.test)
    return small, record
