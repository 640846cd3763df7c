"""What a model answers to several calls, in evaluation mode and with the same luck each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from graphprune.graph.chance import same_chance
from graphprune.graph.state import state_kept
from graphprune.graph.trees import Inputs


def answers(
    model: Callable[..., Any],
    inputs: Sequence[Inputs],
    *,
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[Any]:
    """Outputs of the model for each ``(args, kwargs)``; its mode and its state stay.

    ``within`` makes what surrounds each call.
    """
    training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module) and training:
        model.eval()
    try:
        with torch.no_grad():
            return [_answer(model, one, within) for one in inputs]
    finally:
        if isinstance(model, nn.Module) and training:
            model.train()


def _answer(
    model: Callable[..., Any],
    inputs: Inputs,
    within: Callable[[], AbstractContextManager[None]],
) -> Any:
    args, kwargs = inputs
    with state_kept(model), same_chance(), within():
        return model(*args, **kwargs)
