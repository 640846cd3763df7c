"""Dimensions that are rows of shared columns, labelled by column and by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from graphprune.labels.atoms import AtomStore
from graphprune.labels.slots import Labels, varying

Place = tuple[str, int]
"""A parameter or buffer by qualified name, and one of its dimensions."""


@dataclass(frozen=True)
class Division:
    """How a dimension of a parameter falls into rows.

    Attributes:
        rows: number of the row of each index, int64, shape (size,).
        columns: number of its column, int64, shape (size,); rows that share columns have the same.
        width: how many channels a row has.
    """

    rows: np.ndarray
    columns: np.ndarray
    width: int


@dataclass(frozen=True)
class Divided:
    """Atoms of a divided dimension.

    Attributes:
        rows: one per row.
        columns: one per column.
    """

    rows: torch.Tensor
    columns: torch.Tensor


def divide(
    store: AtomStore, name: str, labels: Labels, divisions: Mapping[Place, Division]
) -> tuple[Labels, dict[Place, Divided]]:
    """Labels of a parameter with two slots, columns first, in place of each that is divided."""
    result = []
    found: dict[Place, Divided] = {}
    for slot in labels:
        dims = varying(slot)
        division = divisions.get((name, dims[0])) if len(dims) == 1 else None
        if division is None:
            result.append(slot)
            continue
        atoms = []
        for numbers in (division.columns, division.rows):
            own = store.allocate(int(numbers.max()) + 1, name, dims[0])
            result.append(own[torch.from_numpy(numbers)].reshape(slot.shape))
            atoms.append(own)
        found[name, dims[0]] = Divided(rows=atoms[1], columns=atoms[0])
    return tuple(result), found
