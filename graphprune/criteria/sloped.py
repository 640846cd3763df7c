"""Derivatives for scores, and a last look at what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from graphprune.errors import UsageError
from graphprune.training.gradients import differentiating


def gradients(
    scalar: torch.Tensor, leaves: Sequence[torch.Tensor], *, retain: bool = False
) -> tuple[torch.Tensor, ...]:
    """Gradient of ``scalar`` by each leaf, zeros where it does not depend on it.

    ``retain`` keeps the autograd graph for another call.
    """
    if not leaves or not scalar.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    with differentiating():
        return torch.autograd.grad(
            scalar, leaves, retain_graph=retain, allow_unused=True, materialize_grads=True
        )


def check_found(scores: Mapping[str, torch.Tensor], name: str) -> Mapping[str, torch.Tensor]:
    """The scores themselves.

    Raises:
        UsageError: there are some, and all are zero; ``name`` is the criterion.
    """
    if scores and all(not bool(values.any()) for values in scores.values()):
        raise UsageError(
            f"method {name} has nothing to go by: the loss is the same whatever becomes of any "
            "channel; check the loss and the labels, or use l2"
        )
    return scores
