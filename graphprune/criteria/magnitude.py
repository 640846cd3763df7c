"""Magnitude: a channel matters as much as the norm of the weights that make and read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from graphprune.criteria.base import Evidence, parameters_of
from graphprune.labels.slots import varying

_TINY = np.finfo(np.float64).tiny
_PART = 1 << 18
"""Elements whose powers are held at a time: few enough to stay in the processor's cache."""


@dataclass(frozen=True)
class L2:
    """Group L2 norm: root of the sum of squares over all coupled slices of a channel.

    ``sqrt(sum over tensors t of sum over w in t_j of w^2 / mean(t^2))`` for channel j. After Han,
    Mao & Dally, "Deep compression" (2015), who cut single weights by size (numbers of its equations
    were not checked); carried over to coupled groups of channels. Each tensor is first scaled to
    mean square 1, so that a large layer does not drown a small one.
    """

    name: ClassVar[str] = "l2"
    power: ClassVar[float] = 2.0

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, float64, shape (D,)."""
        analysis = evidence.analysis
        total = np.zeros(analysis.classes)
        for name, values in parameters_of(analysis, analysis.groups):
            slots = [slot for slot in analysis.leaves[name][0] if varying(slot)]
            sums = self._sums(values, [tuple(slot.shape) for slot in slots])
            for slot, size in zip(slots, sums, strict=True):
                classes = analysis.slot_classes(slot)
                each = values.numel() / size.size
                _add(total, size, classes, analysis.group_of_class[classes], each)
        return {
            group.name: torch.from_numpy(total[group.channels]).pow(1 / self.power)
            for group in analysis.groups
        }

    def _sums(self, values: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """Sums of ``|values| ** power``, each to one of ``shapes`` (1: summed over), float64."""
        found = self._sums_in(values, shapes, torch.float32)  # several times faster than float64
        sums = [one.double().cpu().numpy() for one in found]
        if not all(np.isfinite(one).all() for one in sums):
            sums = [one.cpu().numpy() for one in self._sums_in(values, shapes, torch.float64)]
        return sums

    def _sums_in(
        self, values: torch.Tensor, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype
    ) -> list[torch.Tensor]:
        if values.numel() <= _PART:
            powers = self._powers(_magnitudes(values, dtype))
            return [_sum_to(powers, shape) for shape in shapes]
        rows = max(1, _PART * len(values) // values.numel())
        parts: list[list[torch.Tensor]] = [[] for _ in shapes]
        for part in values.split(rows):
            powers = self._powers(_magnitudes(part, dtype))
            for found, shape in zip(parts, shapes, strict=True):
                found.append(_sum_to(powers, shape))
        return [
            torch.stack(found).sum(0) if shape[0] == 1 else torch.cat(found)
            for found, shape in zip(parts, shapes, strict=True)
        ]

    def _powers(self, values: torch.Tensor) -> torch.Tensor:
        return values.square() if self.power == 2 else values.abs().pow(self.power)


@dataclass(frozen=True)
class L1(L2):
    """Group L1 norm: sum of absolute values over all coupled slices of a channel.

    ``sum over tensors t of sum over w in t_j of |w| / mean(|t|)``. After Li, Kadav, Durdanovic,
    Samet & Graf, "Pruning filters for efficient ConvNets" (ICLR 2017), who take the sum of absolute
    weights of a filter (whether it has a number there was not checked); carried over to coupled
    groups.
    """

    name: ClassVar[str] = "l1"
    power: ClassVar[float] = 1.0


def _magnitudes(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return (values.abs() if values.is_complex() else values).to(dtype)


def _sum_to(values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Sum over the dimensions that ``shape`` has as 1, over the outermost one first: it is fast."""
    dims = [dim for dim, size in enumerate(shape) if size == 1 and values.shape[dim] > 1]
    if dims and dims[0] == 0:
        values = values.sum(0, keepdim=True)
        dims = dims[1:]
    return values.sum(dims, keepdim=True) if dims else values


def _add(
    total: np.ndarray, size: np.ndarray, classes: np.ndarray, numbers: np.ndarray, each: float
) -> None:
    """Add what the elements of one tensor weigh, scaled to mean 1 over those of each group.

    Args:
        total: by class; added to.
        size: sums of the weights of several elements.
        classes: of each of them.
        numbers: of the group of each, -1 for none.
        each: number of elements in each sum.
    """
    if numbers.min() == numbers.max() >= 0:  # one group has them all
        np.add.at(total, classes, each * size / max(size.mean(), _TINY))
        return
    for number in np.unique(numbers[numbers >= 0]):
        inside = numbers == number
        share = size[inside]
        np.add.at(total, classes[inside], each * share / max(share.mean(), _TINY))
