"""One model pruned by graphprune and by Torch-Pruning, in turn, with the time of every stage."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from benchmarks.speed_models import build, classifier
from graphprune import Shrink, analyse, capture, choose, score_channels
from graphprune.importance.learn_config import LearnConfig
from graphprune.passes.base import run_passes

KEPT = 0.5
OURS = ("capture", "analyse", "score", "plan", "shrink")
THEIRS = ("build", "prune")

T = TypeVar("T")


class Stopwatch:
    """CPU seconds of this process by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, call: Callable[[], T]) -> T:
        """Run ``call`` and note how long it took."""
        gc.collect()  # what the last stage left is not this one's
        started = time.process_time()
        result = call()
        self.seconds[stage] = time.process_time() - started
        return result


@dataclass(frozen=True)
class Versus:
    """Least CPU seconds by stage, of either.

    Attributes:
        model: name.
        ours: by stage of :data:`OURS`.
        theirs: by stage of :data:`THEIRS`.
        kept: share of the parameters that each leaves: (ours, theirs).
    """

    model: str
    ours: dict[str, float]
    theirs: dict[str, float]
    kept: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Our time over theirs, capture included."""
        return sum(self.ours.values()) / sum(self.theirs.values())

    @property
    def ratio_without_capture(self) -> float:
        """Our time without the capture over theirs, which includes their tracing."""
        return (sum(self.ours.values()) - self.ours["capture"]) / sum(self.theirs.values())

    def figures(self) -> list[float]:
        """Seconds of every stage, ours first, and the two ratios."""
        seconds = [*self.ours.values(), *self.theirs.values()]
        return [*seconds, self.ratio, self.ratio_without_capture]

    def record(self) -> dict[str, Any]:
        """Plain data for a line of JSON."""
        return {
            "model": self.model,
            "ours": {stage: round(n, 4) for stage, n in self.ours.items()},
            "theirs": {stage: round(n, 4) for stage, n in self.theirs.items()},
            "ratio": round(self.ratio, 3),
            "ratio_without_capture": round(self.ratio_without_capture, 3),
            "params_kept": [round(n, 4) for n in self.kept],
        }


def versus(name: str, repeats: int) -> Versus:
    """Prune model ``name`` in turn, once to warm up and ``repeats`` times for the record."""
    model, image = build(name)
    ours, theirs = [], []
    for _ in range(repeats + 1):
        small, seconds = prune_ours(model, image)
        ours.append(seconds)
        theirs_small, seconds = prune_theirs(copy.deepcopy(model), image)
        theirs.append(seconds)
    return Versus(
        name,
        {stage: min(run[stage] for run in ours[1:]) for stage in OURS},
        {stage: min(run[stage] for run in theirs[1:]) for stage in THEIRS},
        (_size(small) / _size(model), _size(theirs_small) / _size(model)),
    )


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def prune_ours(model: nn.Module, image: torch.Tensor) -> tuple[nn.Module, dict[str, float]]:
    """From the model to the small graph, as ``compress`` does it but without the proof.

    The copy that keeps the dense graph is not timed: Torch-Pruning cuts the model itself.
    """
    watch = Stopwatch()
    dense = watch.time("capture", lambda: capture(model, image))
    analysis = watch.time("analyse", lambda: analyse(dense.module))
    scores = watch.time(
        "score", lambda: score_channels(dense, analysis, "l2", None, learn=LearnConfig())
    )
    target = f"channels={KEPT}"
    choice = watch.time("plan", lambda: choose(analysis, scores.by_group, target))
    small = copy.deepcopy(dense.module)
    shrink = Shrink(analysis=analysis, plan=choice.plan)
    watch.time("shrink", lambda: run_passes(small, [shrink]))
    return small, watch.seconds


def prune_theirs(model: nn.Module, image: torch.Tensor) -> tuple[nn.Module, dict[str, float]]:
    """Torch-Pruning: dependency graph and groups, then one step of group magnitude pruning."""
    import torch_pruning

    watch = Stopwatch()
    pruner = watch.time(
        "build",
        lambda: torch_pruning.pruner.BasePruner(
            model,
            image,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=1 - KEPT,
            ignored_layers=[classifier(model)],
        ),
    )
    watch.time("prune", pruner.step)
    with torch.no_grad():
        model(image)  # it must still run
    return model, watch.seconds
