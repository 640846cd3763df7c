"""How good a model is on data: accuracy where there are class labels, a loss everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from graphprune.errors import DataError, TrainingError
from graphprune.io.loss import (
    Loss,
    class_scores,
    counted_labels,
    cross_entropy,
    require_counted,
)
from graphprune.training.devices import Batch, Runtime, moved, run_module
from graphprune.training.distance import Distance


def evaluate(
    module: nn.Module,
    data: Iterable[Batch],
    *,
    loss: Loss | None = None,
    teacher: nn.Module | None = None,
) -> dict[str, float]:
    """Run ``module`` in evaluation mode over ``data`` and judge its outputs.

    Args:
        module: left on its device and in evaluation mode.
        data: batches ``(inputs, target or None)``.
        loss: the user's ``loss(output, target)``; cross-entropy if None and there are labels.
        teacher: the model to compare with where there are no labels: its outputs are the target.

    Returns:
        ``accuracy`` in [0, 1] where the targets are class labels and no loss is given; ``loss``
        where there are targets or a loss is given; else ``distance`` (squared error to the teacher
        over the variance of its outputs, both over all data). Accuracy and cross-entropy are means
        over all labels that count (:func:`graphprune.io.loss.counted_labels`), a user's loss over
        examples.

    Raises:
        DataError: there is no data, or no label that counts.
    """
    totals: dict[str, float] = {}
    weights: dict[str, int] = {}
    examples, distance = 0, Distance()
    runtime = Runtime(mixed_precision=False)
    modules = [module] if teacher is None or teacher is module else [module, teacher]
    for each in modules:
        each.eval()
    with moved(runtime.device, *modules), torch.no_grad():
        for batch in runtime.batches(data):
            examples += _count(batch)
            inputs, target = batch
            output = run_module(module, inputs)
            if target is None:
                if teacher is None:
                    continue
                target = run_module(teacher, inputs)  # stands in for it, as where switches learn
                if loss is None:
                    distance.add(output, target)
                    continue
            for name, (value, weight) in _judge(output, target, loss, _count(batch)).items():
                totals[name] = totals.get(name, 0.0) + value * weight
                weights[name] = weights.get(name, 0) + weight
    if not examples:
        raise DataError("there is no data to evaluate on")
    require_counted(all(weights.values()), "the held-out data")
    figures = {name: value / weights[name] for name, value in totals.items()}
    return figures if distance.empty else {**figures, "distance": distance.value()}


def loss_of(figures: Mapping[str, float]) -> float | None:
    """The loss, or the distance without labels; None where there is none, or it is not finite."""
    value = figures.get("loss", figures.get("distance"))
    return value if value is not None and math.isfinite(value) else None


def require_finite(figures: Mapping[str, float]) -> None:
    """Refuse a loss that cannot judge: that of the original is NaN or infinite already.

    Raises:
        TrainingError: it is.
    """
    for name in ("loss", "distance"):
        value = figures.get(name, 0.0)
        if not math.isfinite(value):
            raise TrainingError(
                f"the {name} of the original model on the held-out data is {value}, so nothing can "
                "be compared with it; check these data and the loss for NaN, overflow or logarithms"
            )


def _judge(
    output: Any, target: Any, loss: Loss | None, examples: int
) -> dict[str, tuple[float, int]]:
    """Figures of a batch, each with its weight: of how many labels or examples it is the mean."""
    if loss is not None:
        return {"loss": (float(loss(output, target)), examples)}
    mean = float(cross_entropy(output, target))
    counted = counted_labels(target)
    weight = int(counted.sum())
    figures = {"loss": (mean, weight)}
    if not target.is_floating_point():
        right = (class_scores(output, target).argmax(dim=1) == target) & counted
        figures["accuracy"] = (int(right.sum()) / max(weight, 1), weight)
    return figures


def _count(batch: Any) -> int:
    """How many examples a batch holds."""
    leaves = [t for t in torch.utils._pytree.tree_leaves(batch[0]) if isinstance(t, torch.Tensor)]
    return int(leaves[0].shape[0]) if leaves and leaves[0].ndim else 1
