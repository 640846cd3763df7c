"""Running the captured model over the data for a criterion, and averaging what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import Evidence, given_data
from graphprune.errors import DataError
from graphprune.io.loss import require_counted
from graphprune.io.text import few
from graphprune.training.devices import Runtime
from graphprune.training.feed import call_arguments, count_examples


@dataclass(frozen=True)
class Inputs:
    """One batch, on the device.

    Attributes:
        args: positional arguments of the captured model.
        kwargs: its keyword arguments.
        target: the batch's target, None without labels.
        examples: how many there are.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: Any
    examples: int

    def through(self, module: nn.Module) -> Any:
        """What the module answers."""
        return module(*self.args, **self.kwargs)


class Runs:
    """Batches for a criterion, in float32 on the device, and means of scores over them.

    Attributes:
        name: of the criterion, for messages.
        runtime: device and processes. Each process takes its share of the batches.
        steps: batches given out so far, by this process.
    """

    def __init__(self, evidence: Evidence, name: str, limit: int | None = None) -> None:
        """``limit``: use so many batches at most."""
        self.name = name
        self.runtime = Runtime(mixed_precision=False)
        self.steps = 0
        self.captured, data = given_data(evidence, name)
        self._analysis = evidence.analysis
        self._limit = limit
        self._data = data if limit is None else islice(data, limit)
        self._known = len(data) if isinstance(data, Sized) else None
        self._sums: dict[str, torch.Tensor] = {}
        self._weights: dict[str, torch.Tensor] = {}

    @property
    def total(self) -> int:
        """How many batches this process will get, 0 where that is not known."""
        if self._known is None:
            return 0
        batches = self._known if self._limit is None else min(self._known, self._limit)
        return batches // self.runtime.processes

    def __iter__(self) -> Iterator[Inputs]:
        for inputs, target in self.runtime.batches(self._data):
            self.steps += 1
            given = call_arguments(self.captured, inputs)
            yield Inputs(*given, target, count_examples(self.captured, given))
        if self.steps == 0:
            raise DataError(f"there is no data for method {self.name} to measure on")

    def add(self, group: str, scores: torch.Tensor, weight: float = 1.0) -> None:
        """Add one batch's scores of a group.

        Args:
            group: its name.
            scores: float (D,), or of its first channels.
            weight: of this batch in the mean, such as its number of examples: the last batch may
                have fewer.
        """
        scores = scores.detach().double() * weight
        counted = scores.new_full((), weight)
        if group in self._sums:
            scores, counted = self._sums[group] + scores, self._weights[group] + counted
        self._sums[group], self._weights[group] = scores, counted

    def means(self) -> dict[str, torch.Tensor]:
        """Weighted means over the batches of all processes, float64, on the CPU.

        Raises:
            DataError: all weights are 0, for no label counts.
        """
        self.runtime.average([*self._sums.values(), *self._weights.values()])
        counted = not self._weights or any(float(one) > 0 for one in self._weights.values())
        require_counted(counted, f"the data for method {self.name}")
        return {name: (total / self._weights[name]).cpu() for name, total in self._sums.items()}


def for_every_channel(
    analysis: Analysis, found: Mapping[str, torch.Tensor], evidence: Evidence
) -> dict[str, torch.Tensor]:
    """Scores of all groups; channels that nothing was measured of get the mean of the others.

    Args:
        analysis: of the captured graph.
        found: by group name, scores of its first channels; groups may be missing.
        evidence: told of such groups.
    """
    present = [values for values in found.values() if values.numel()]
    mean = torch.cat(present).mean() if present else torch.ones((), dtype=torch.float64)
    scores, unreached = {}, []
    for group in analysis.groups:
        values = found.get(group.name, torch.zeros(0, dtype=torch.float64))
        if values.numel() < group.size:
            unreached.append(group.name)
            rest = values.mean() if values.numel() else mean
            values = torch.cat([values, rest.expand(group.size - values.numel())])
        scores[group.name] = values
    if unreached:
        evidence.note(
            f"nothing could be measured of all of {few(unreached)}: mean importance assumed there"
        )
    return scores
