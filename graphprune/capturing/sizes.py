"""``len(x)`` of a tensor while it is captured."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch


@contextlib.contextmanager
def len_gives_sizes() -> Iterator[None]:
    """While open, ``len(tensor)`` is the tensor's first size, symbolic where that is free.

    Python's own ``len`` insists on a plain number, which would fix the batch of every model that
    reads it so.
    """
    count = builtins.len

    def length(of: Any, /) -> Any:
        if isinstance(of, torch.Tensor) and of.ndim:
            return of.shape[0]
        return count(of)

    with mock.patch.object(builtins, "len", length):
        yield
