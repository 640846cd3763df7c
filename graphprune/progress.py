"""How long-running stages tell how far they are, and refuse losses that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from graphprune.errors import TrainingError

# Called as progress(stage, done, total, figures): steps done of `total` (0 if unknown).
Progress = Callable[[str, int, int, dict[str, float]], None]


class LossLog:
    """Losses of a training run, read from the device only now and then.

    Reading a value waits for the device, so steps are kept as tensors and looked at in blocks.
    """

    def __init__(self, stage: str, total: int, progress: Progress | None, every: int = 8) -> None:
        self.history: list[dict[str, float]] = []
        self._stage = stage
        self._total = total
        self._progress = progress
        self._every = every
        self._waiting: list[tuple[tuple[str, ...], torch.Tensor]] = []

    def add(self, **losses: torch.Tensor) -> None:
        """Record one step's scalar losses; raises :class:`TrainingError` as :meth:`flush` does."""
        names = tuple(losses)
        values = [value.detach().float().reshape(()) for value in losses.values()]
        self._waiting.append((names, torch.stack(values)))
        if len(self._waiting) >= self._every:
            self.flush()

    def flush(self) -> None:
        """Read what is waiting.

        Raises:
            TrainingError: a loss is not finite; the message names the first such step.
        """
        if not self._waiting:
            return
        for names, values in self._waiting:
            figures = dict(zip(names, values.tolist(), strict=True))
            step = len(self.history) + 1
            for name, value in figures.items():
                if not math.isfinite(value):
                    raise TrainingError(
                        f"{self._stage}: {name} became {value} at step {step}; lower the learning "
                        "rate, and check the data and the loss for NaN or overflow"
                    )
            self.history.append({"step": float(step), **figures})
        self._waiting.clear()
        if self._progress is not None:
            last = {k: v for k, v in self.history[-1].items() if k != "step"}
            self._progress(self._stage, len(self.history), self._total, last)
