"""Models that write into their own buffers: a call of one is undone, so that calls compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def state_kept(model: Any) -> Iterator[None]:
    """While open, ``model`` may write into its buffers; on leaving, each has its old values.

    Args:
        model: a module, or an interpreter of one (its ``module``); anything else has no state.
    """
    module = model if isinstance(model, nn.Module) else getattr(model, "module", None)
    buffers = list(module.buffers()) if isinstance(module, nn.Module) else []
    saved = [(buffer, buffer.detach().clone()) for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                if has_moved(buffer, value):
                    buffer.copy_(value)


def has_moved(buffer: torch.Tensor, before: torch.Tensor) -> bool:
    """Whether a buffer holds other values than it did; some kernels write without saying so."""
    return not buffer.is_meta and not torch.equal(buffer, before)
