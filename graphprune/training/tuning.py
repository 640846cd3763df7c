"""Fine-tuning as a compression does it: towards the original, keeping the best epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from graphprune.capturing.capture import Captured
from graphprune.errors import TrainingError
from graphprune.io import Loss
from graphprune.io.tensors import floating_outputs
from graphprune.training.devices import Runtime
from graphprune.training.distance import scales_of
from graphprune.training.evaluate import evaluate, loss_of
from graphprune.training.feed import Feed
from graphprune.training.finetune import FinetuneResult, finetune
from graphprune.training.objective import Objective

if TYPE_CHECKING:
    from graphprune.compressed import CompressConfig


def tune(
    small: Captured,
    dense: Captured,
    feed: Feed,
    loss: Loss | None,
    epochs: int,
    config: CompressConfig,
) -> FinetuneResult:
    """Train the small model in place.

    Args:
        small: the model to train.
        dense: the original, its teacher.
        feed: the data.
        loss: ``loss(output, target)``; None is cross-entropy, or the distance without labels.
        epochs: passes over the training data.
        config: of the compression.

    Raises:
        TrainingError: a loss became NaN or infinite, or the trained model answers so.
    """
    teacher = dense.module if config.distill or not feed.has_labels else None
    scales: tuple[float, ...] = ()
    if teacher is not None and (feed.has_labels or loss is None):  # else the loss alone counts
        device = Runtime(mixed_precision=False).device
        scales = scales_of(dense, feed.training(config.finetune.seed), device)
    result = finetune(
        small.module,
        feed.training(config.finetune.seed),
        replace(config.finetune, epochs=epochs),
        Objective(loss=loss, teacher=teacher, scales=scales),
        _judge_by(feed, loss, dense, config),
        config.progress,
    )
    # The last step's loss is that of the weights before it, so it does not show what they became.
    if _answers_finite(dense) and not _answers_finite(small):
        raise TrainingError(
            "finetune: the trained model answers NaN or infinity; lower the learning rate"
        )
    return result


def _answers_finite(captured: Captured) -> bool:
    with torch.no_grad():
        output = captured.module(*captured.args, **captured.kwargs)
    return all(bool(torch.isfinite(tensor).all()) for tensor in floating_outputs(output))


def _judge_by(
    feed: Feed, loss: Loss | None, dense: Captured, config: CompressConfig
) -> Callable[[nn.Module], float] | None:
    """How fine-tuning picks its best epoch: held-out accuracy, else the negative loss."""
    if not config.evaluate:
        return None

    def judge(module: nn.Module) -> float:
        figures = evaluate(module, feed.held_out(), loss=loss, teacher=dense.module)
        if "accuracy" in figures:
            return figures["accuracy"]
        value = loss_of(figures)
        return -math.inf if value is None else -value

    return judge
