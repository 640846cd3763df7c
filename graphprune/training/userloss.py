"""A loss that someone else wrote: whatever is wrong with it becomes one line."""

from __future__ import annotations

import warnings

import torch

from graphprune.errors import GraphpruneError, UsageError
from graphprune.io.loss import Loss
from graphprune.io.tensors import describe, output_tensors
from graphprune.io.text import reason


def checked_loss(loss: Loss) -> Loss:
    """``loss``, raising :class:`UsageError` where it fails, or returns no scalar to learn from.

    The value itself, which may be NaN, is not looked at.
    """

    def checked(output: object, target: object) -> torch.Tensor:
        try:
            with warnings.catch_warnings():
                # torch only warns where shapes differ, and compares every example with every other.
                warnings.filterwarnings("error", message="Using a target size")
                value = loss(output, target)
        except GraphpruneError:
            raise
        except Exception as error:
            raise UsageError(
                f"the loss raised {reason(error)}; it was called with output "
                f"{_describe(output)} and target {_describe(target)}"
            ) from error
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            shown = describe(value) if isinstance(value, torch.Tensor) else type(value).__name__
            raise UsageError(f"the loss returned {shown}; expected a scalar, take the mean")
        learning = any(tensor.requires_grad for tensor in output_tensors(output))
        if learning and torch.is_grad_enabled() and not value.requires_grad:
            raise UsageError(
                "the loss has no gradient: compute it from the model's output with torch"
            )
        return value.reshape(())

    return checked


def _describe(value: object) -> str:
    return ", ".join(map(describe, output_tensors(value))) or type(value).__name__
