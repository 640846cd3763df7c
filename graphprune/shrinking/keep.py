"""Keeping: from "these channels stay" to element masks, kept shapes and sliced tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from graphprune.errors import PassError
from graphprune.labels.slots import Labels, Shape, apart


class NotRectangularError(PassError):
    """What is kept of a tensor is no rectangle, so it cannot be stored densely."""


_Cut = tuple[np.ndarray, list[tuple[int, np.ndarray]]]
"""A mask, and the steps that cut out what it keeps; see :func:`_steps`."""


@dataclass(frozen=True)
class Keep:
    """Which atoms stay.

    Attributes:
        atoms: bool tensor of one more entry than there are atoms; the last stands for "no atom"
            (index -1) and is True.
    """

    atoms: torch.Tensor
    _known: dict[tuple[int, ...], tuple[Labels, list[_Cut]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def mask(self, labels: Labels, shape: Shape) -> torch.Tensor:
        """Bool mask of kept elements, broadcastable to ``shape`` (size 1 where constant)."""
        result = torch.ones((1,) * len(shape), dtype=torch.bool)
        for slot in labels:
            result = result & self.atoms[slot]
        return result

    def shape(self, labels: Labels, shape: Shape) -> Shape:
        """Shape of the kept part.

        Raises:
            NotRectangularError: the kept elements form no rectangle.
        """
        sizes = list(shape)
        for _, steps in self._cuts(labels):
            for dim, index in steps:
                sizes[dim] = index.shape[dim] if index.ndim > 1 else index.size
        return tuple(sizes)

    def take(self, tensor: torch.Tensor, labels: Labels) -> torch.Tensor:
        """The kept part of ``tensor`` (labels of its shape), in the original order."""
        for mask, steps in self._cuts(labels):
            for dim, index in steps:
                if index.ndim == 1 and index.size == mask.shape[dim]:
                    continue  # all of it
                where = torch.from_numpy(index).to(tensor.device)
                if index.ndim == 1:
                    tensor = tensor.index_select(dim, where)
                else:
                    size = [
                        n if d == dim else m
                        for d, (n, m) in enumerate(zip(index.shape, tensor.shape, strict=True))
                    ]
                    tensor = tensor.gather(dim, where.expand(size))
        return tensor

    def indices(self, labels: Labels) -> dict[int, list[int] | list[list[int]]]:
        """Kept positions by dimension; a list per row where rows keep different ones.

        Only dimensions that lose something are named. Positions are those before any slicing; in
        a list per row, row r is the r-th kept index of the first dimension.
        """
        result: dict[int, list[int] | list[list[int]]] = {}
        for mask, steps in self._cuts(labels):
            for dim, index in steps:
                if index.ndim == 1:
                    if index.size < mask.shape[dim]:
                        result[dim] = index.tolist()
                elif index.shape[dim] < mask.shape[dim]:
                    rows = np.moveaxis(index, dim, -1).reshape(-1, index.shape[dim])
                    result[dim] = rows.tolist()
        rows_kept = result.get(0)
        for dim, positions in result.items():
            if dim and rows_kept and positions and isinstance(positions[0], list):
                full = dict(enumerate(positions))
                result[dim] = [full[i] for i in rows_kept if i in full]
        return dict(sorted(result.items()))

    def count_before(self, labels: Labels, shape: Shape, dim: int) -> Callable[[int], int]:
        """Function from a position along ``dim`` to the number of kept positions before it.

        Raises:
            NotRectangularError: the number differs between rows.
        """
        relevant = [slot for slot in labels if slot.shape[dim] > 1]
        mask = torch.ones((1,) * len(shape), dtype=torch.bool)
        for slot in relevant:
            mask = mask & self.atoms[slot]
        mask = mask.expand([shape[d] if d == dim else n for d, n in enumerate(mask.shape)])
        lines = mask.movedim(dim, -1).reshape(-1, shape[dim])
        lines = lines[lines.any(dim=1)]
        sums = lines.to(torch.int64).cumsum(1)
        counts = [0, *sums[0].tolist()]
        even = [True, *(sums == sums[0]).all(0).tolist()]

        def before(position: int) -> int:
            if not even[position]:
                raise NotRectangularError(f"rows keep different numbers before {position}")
            return int(counts[position])

        return before

    def fraction(self, labels: Labels) -> float:
        """Share of elements kept."""
        share = 1.0
        for mask in self._clusters(labels):
            share *= np.count_nonzero(mask) / mask.size
        return share

    def _cuts(self, labels: Labels) -> list[_Cut]:
        """The clusters of masks and how each is cut; slots of one tensor are asked for often."""
        key = tuple(map(id, labels))
        if key not in self._known:
            cuts = [(mask, _steps(mask)) for mask in self._clusters(labels)]
            self._known[key] = (labels, cuts)  # with the slots, so that no other gets their ids
        return self._known[key][1]

    def _clusters(self, labels: Labels) -> list[np.ndarray]:
        """Masks over disjoint sets of dimensions whose outer product is the whole mask."""
        atoms = self.atoms.numpy()
        masks = ([atoms[slot.numpy()] for slot in slots] for slots in apart(labels))
        return [functools.reduce(np.logical_and, each) for each in masks]


def _steps(mask: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Steps that cut the kept elements out: (dimension, 1-D positions or gather index).

    Dimensions are tried from last to first; one can be cut as soon as every non-empty row keeps
    as many positions along it.
    """
    dims = [dim for dim, size in enumerate(mask.shape) if size > 1]
    if not dims:
        return []
    if len(dims) == 1:
        return [(dims[0], mask.reshape(-1).nonzero()[0])]
    for dim in reversed(dims):
        counts = mask.sum(axis=dim, keepdims=True)
        most = int(counts.max())
        if most == 0:
            raise NotRectangularError("nothing of a tensor is kept")
        rest = counts > 0
        if (counts[rest] == most).all():
            line = mask.any(axis=_others(mask, dim), keepdims=True)
            if np.array_equal(mask, rest & line):  # the same positions in every row
                return [(dim, np.flatnonzero(line)), *_steps(rest)]
            order = np.argsort(~mask, axis=dim, kind="stable")
            return [(dim, order.take(range(most), axis=dim)), *_steps(rest)]
    raise NotRectangularError("rows of a grid keep different numbers of channels")


def _others(mask: np.ndarray, dim: int) -> tuple[int, ...]:
    return tuple(d for d in range(mask.ndim) if d != dim)
