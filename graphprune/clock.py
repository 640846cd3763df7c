"""Timing of stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from graphprune.progress import Progress


class Clock:
    """Times stages and tells the progress callback of each."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under ``name``; several under one name add up."""
        if self._progress is not None:
            self._progress(name, 0, 1, {})
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        if self._progress is not None:
            self._progress(name, 1, 1, {})
