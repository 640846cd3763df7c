"""Calls of code that may be other people's: whatever it raises becomes one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from graphprune.errors import GraphpruneError, UsageError
from graphprune.io.text import reason

_OURS = "graphprune"


@contextmanager
def calling(owner: object, who: str, what: str) -> Iterator[None]:
    """While open, ``what`` of ``owner`` is called; the user knows it as ``who``.

    Errors of our own classes are of graphprune and keep their traceback.

    Raises:
        UsageError: it raised something that says nothing to the user.
    """
    try:
        yield
    except (GraphpruneError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if type(owner).__module__.partition(".")[0] == _OURS:
            raise
        raise UsageError(f"{who}: {what} raised {reason(error)}") from error
