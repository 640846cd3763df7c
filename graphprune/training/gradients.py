"""Gradients: on for whoever learns, and their errors said for the user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch

from graphprune.errors import TrainingError
from graphprune.io.text import reason


@contextlib.contextmanager
def learning() -> Iterator[None]:
    """Inside the block gradients are on, whatever the caller has turned off; a decorator too.

    Users put ``torch.no_grad()`` or ``inference_mode()`` around all that they do with a model.
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextlib.contextmanager
def differentiating() -> Iterator[None]:
    """Inside the block, a backward pass that torch refuses is an error of one line.

    Raises:
        TrainingError: the model has no gradients, for it writes over a value that they need, or an
            operator has no derivative. Lack of memory is passed on as it is.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise TrainingError(
            f"the model cannot be trained: {reason(error)}; mend its forward, or use a method "
            "that needs no gradients (l2) without fine-tuning"
        ) from error


def adam_eps(parameters: Iterable[torch.Tensor]) -> float:
    """What Adam adds to its denominator: 1e-8, or the least number that all of them can hold.

    float16 holds no 1e-8, so that weights without a gradient would become 0 / 0.
    """
    return max([1e-8, *(float(torch.finfo(one.dtype).tiny) for one in parameters)])
