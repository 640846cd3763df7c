"""Models that write into their own buffers: a call of one is undone, so that calls compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def state_kept(model: Any) -> Iterator[Callable[[], bool]]:
    """While open, ``model`` may write into its buffers; on leaving, each has its old values.

    Args:
        model: a module, or an interpreter of one (its ``module``); anything else has no state.

    Yields:
        What tells whether a buffer holds other values by now.
    """
    module = model if isinstance(model, nn.Module) else getattr(model, "module", None)
    buffers = list(module.buffers()) if isinstance(module, nn.Module) else []
    saved = [(buffer, buffer.detach().clone()) for buffer in buffers]

    def moved() -> list[tuple[torch.Tensor, torch.Tensor]]:
        # By value: some kernels write without saying so.
        return [(b, value) for b, value in saved if not b.is_meta and not torch.equal(b, value)]

    try:
        yield lambda: bool(moved())
    finally:
        with torch.no_grad():
            for buffer, value in moved():
                buffer.copy_(value)
