"""How good a model is on data: accuracy where there are class labels, a loss everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from graphprune.errors import DataError
from graphprune.io.loss import Loss, class_scores, default_loss, reproduce
from graphprune.training.devices import Batch, Runtime, moved, run_module


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
        teacher: the model to compare with where there are no labels.

    Returns:
        ``accuracy`` in [0, 1] where the targets are class labels and no loss is given; ``loss``
        where there are targets; ``distance`` (relative squared error to the teacher) without them.

    Raises:
        DataError: there is no data.
    """
    totals: dict[str, float] = {}
    examples = 0
    runtime = Runtime(mixed_precision=False)
    modules = [module] if teacher is None or teacher is module else [module, teacher]
    for each in modules:
        each.eval()
    with moved(runtime.device, *modules), torch.no_grad():
        for batch in runtime.batches(data):
            figures, size = _judge(module, batch, loss, teacher)
            examples += size
            for name, value in figures.items():
                totals[name] = totals.get(name, 0.0) + value * size
    if not examples:
        raise DataError("there is no data to evaluate on")
    return {name: value / examples for name, value in totals.items()}


def _judge(
    module: nn.Module, batch: Any, loss: Loss | None, teacher: nn.Module | None
) -> tuple[dict[str, float], int]:
    inputs, target = batch
    output = run_module(module, inputs)
    leaves = [t for t in torch.utils._pytree.tree_leaves(inputs) if isinstance(t, torch.Tensor)]
    size = int(leaves[0].shape[0]) if leaves and leaves[0].ndim else 1
    if target is None:
        if teacher is None:
            return {}, size
        return {"distance": float(reproduce(output, run_module(teacher, inputs)))}, size
    figures = {"loss": float((loss or default_loss(True))(output, target))}
    if loss is None and isinstance(target, torch.Tensor) and not target.is_floating_point():
        predicted = class_scores(output, target).argmax(dim=1)
        figures["accuracy"] = float((predicted == target).float().mean())
    return figures, size
