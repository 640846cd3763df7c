"""What two halves of the examples say of the importance, each by itself.

What they agree on is in the data; how far apart they end tells how sure the importance is,
whatever the kind of switch or criterion. Switches of both halves take turns at one network, so they
cost no further passes; a criterion is measured on each half once more.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized

import numpy as np
import torch
from scipy.stats import t as student
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset

from graphprune.switches.base import Switch
from graphprune.training.devices import Batch

_NEIGHBOURS = 8
"""Channels of similar importance, at least, over which the distance of the halves is averaged."""


class Sides:
    """Values of the same parameters, one for each side; ``turn`` puts those of one side in."""

    def __init__(self, parameters: Iterable[nn.Parameter], count: int) -> None:
        self._parameters = list(parameters)
        self._values = [[p.detach().clone() for p in self._parameters] for _ in range(count)]

    def turn(self, side: int) -> None:
        """From here on the parameters are those of this side, to be changed in place."""
        for parameter, value in zip(self._parameters, self._values[side], strict=True):
            parameter.data = value

    def meet(self) -> None:
        """The parameters become the mean of all sides."""
        for parameter, *values in zip(self._parameters, *self._values, strict=True):
            parameter.data = torch.stack(values).mean(0)

    def copies(self, switches: Mapping[str, Switch]) -> tuple[dict[str, Switch], ...]:
        """The switches as they are on each side; none where there is but one."""
        if len(self._values) == 1:
            return ()
        found = []
        for side in range(len(self._values)):
            self.turn(side)
            found.append({group: copy.deepcopy(switch) for group, switch in switches.items()})
        return tuple(found)


class InTurn:
    """Batches of which those with even numbers come from one half of the examples.

    A shuffled loader is cut in two, for its order changes with every pass. Other batches are taken
    as they come.
    """

    def __init__(self, data: Iterable[Batch]) -> None:
        self._data = data
        self._loaders = halves_of(data)

    def __iter__(self) -> Iterator[Batch]:
        if not self._loaders:
            return iter(self._data)
        return itertools.chain.from_iterable(zip(*self._loaders, strict=False))


def has_halves(data: Iterable[Batch]) -> bool:
    """Whether :class:`InTurn` keeps the halves apart: the order is always the same, or ours."""
    fixed = not isinstance(data, DataLoader) or isinstance(data.sampler, SequentialSampler)
    return fixed or bool(halves_of(data))


def halves_of(
    data: Iterable[Batch], generator: torch.Generator | None = None
) -> list[DataLoader[Batch]]:
    """Loaders of each half of what a shuffled one loads; none for others, or for one example.

    The halves are drawn by chance, always the same: examples may lie in an order, such as classes
    in turn.

    Args:
        data: of any kind.
        generator: what the loaders shuffle with; None: that of the one.
    """
    if not isinstance(data, DataLoader) or not isinstance(data.sampler, RandomSampler):
        return []
    if not isinstance(data.dataset, Sized) or data.batch_size is None or len(data.dataset) < 2:
        return []
    size = len(data.dataset)
    drawn = torch.randperm(size, generator=torch.Generator().manual_seed(0)).tolist()
    return [
        DataLoader(
            Subset(data.dataset, drawn[side::2]),
            batch_size=min(data.batch_size, size // 2),
            shuffle=True,
            num_workers=data.num_workers,
            collate_fn=data.collate_fn,
            generator=generator or data.generator,
            drop_last=data.drop_last,
        )
        for side in (0, 1)
    ]


def interval(
    importance: torch.Tensor, halves: Sequence[torch.Tensor], level: float
) -> torch.Tensor:
    """Where the importance would lie if it were learned from other examples, (2, D).

    The mean of two halves has as its standard error half of their distance, squared and averaged
    over channels of similar importance, for one distance alone tells little.

    Args:
        importance: float (D,).
        halves: what each half says of it, two of (D,).
        level: probability within, in (0, 1).
    """
    first, second = (half.double().cpu().numpy() for half in halves)
    centre = importance.double().cpu().numpy()
    order = np.argsort(centre, kind="stable")
    squares = ((first - second) / 2)[order] ** 2
    width = min(len(squares), max(_NEIGHBOURS, len(squares) // 4))
    starts = np.clip(np.arange(len(squares)) - width // 2, 0, len(squares) - width)
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    errors = np.empty_like(centre)
    errors[order] = np.sqrt((sums[starts + width] - sums[starts]) / width)
    reach = float(student.ppf((1 + level) / 2, width)) * errors
    return torch.from_numpy(np.stack([centre - reach, centre + reach])).float()
