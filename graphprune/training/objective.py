"""What a small model is trained towards: labels, the original model's outputs, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from graphprune.errors import DataError, UsageError
from graphprune.io.loss import Loss, class_scores, counted_labels, cross_entropy, reproduce
from graphprune.training.devices import run_module


@dataclass(frozen=True)
class Objective:
    """Loss of a model on a batch: labels, the teacher's outputs, or both.

    Where target and teacher both exist, ``(1 - w) * loss(output, target) + w * distillation``.
    Distillation matches softened class probabilities (``T^2 KL``) where the targets are class
    labels and the output holds their scores, wherever such a label counts
    (:func:`graphprune.io.loss.counted_labels`), and all floating outputs (relative squared error)
    anywhere else. Without a target the teacher's outputs stand in for it where a loss is given.

    Attributes:
        loss: ``loss(output, target)``, a scalar; cross-entropy if None and there are labels.
        teacher: the original model, to distil from; None for none.
        distill_weight: the share w of distillation where there are labels too.
        temperature: T, softens the class probabilities.
        scales: of the teacher's outputs (:func:`graphprune.training.distance.scales_of`); by
            default each batch's own.
    """

    loss: Loss | None = None
    teacher: nn.Module | None = None
    distill_weight: float = 0.7
    temperature: float = 4.0
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.distill_weight <= 1 or self.temperature <= 0:
            raise UsageError("distill_weight must be between 0 and 1, temperature positive")

    def __call__(self, output: Any, inputs: Any, target: Any) -> dict[str, torch.Tensor]:
        """Scalars: "loss" is the sum to minimise, the others its parts."""
        reference = None
        if self.teacher is not None:
            with torch.no_grad():
                reference = run_module(self.teacher, inputs)
        if target is None and self.loss is not None and self.teacher is not None:
            return {"loss": self.loss(output, reference)}
        parts: dict[str, torch.Tensor] = {}
        if target is not None or self.loss is not None:
            parts["task"] = (self.loss or cross_entropy)(output, target)
        if self.teacher is not None:
            parts["distillation"] = self._distance(output, reference, target)
        if not parts:
            raise DataError("nothing to learn from: give labels, a loss or a teacher")
        if len(parts) == 1:
            return {"loss": next(iter(parts.values()))}
        share = self.distill_weight
        total = (1 - share) * parts["task"] + share * parts["distillation"]
        return {"loss": total, **parts}

    def _distance(self, output: Any, reference: Any, target: Any) -> torch.Tensor:
        classes = isinstance(target, torch.Tensor) and not target.is_floating_point()
        if not classes or self.loss is not None:
            return reproduce(output, reference, self.scales)
        return soft_cross_entropy(
            class_scores(output, target),
            class_scores(reference, target),
            self.temperature,
            counted_labels(target),
        )


def soft_cross_entropy(
    scores: torch.Tensor,
    reference: torch.Tensor,
    temperature: float,
    counted: torch.Tensor | None = None,
) -> torch.Tensor:
    """``T^2 KL(softmax(reference / T) || softmax(scores / T))``, mean over all but dim 1 (nats).

    Args:
        scores: of the classes in dim 1.
        reference: the teacher's, of the same shape.
        temperature: T.
        counted: what the mean is over, bool without dim 1; all of it if None. A mean over nothing
            is 0, as cross-entropy has it.
    """
    log_student = F.log_softmax(scores.float() / temperature, dim=1)
    log_teacher = F.log_softmax(reference.float() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
    if counted is not None:  # what a model answers to padding is nothing to learn
        divergence = torch.where(counted, divergence, 0).sum() / counted.sum().clamp(min=1)
    return divergence.mean() * temperature**2
