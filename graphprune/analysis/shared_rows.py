"""Rows that share their columns: heads whose size is fixed by one tensor that all of them use.

Cosines and sines of rotary positions, the weight of a norm of queries, or the one key head of
multi-query attention make channel d of every head one channel. What is left of the heads is no grid
then, and none of them could go. So the projections are labelled once more, each with two slots
along one dimension: one for the columns that the rows share, one for the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from graphprune.analysis.channels import Kind
from graphprune.labels.divided import Division, Place
from graphprune.labels.slots import Labels, Shape, Slot, varying
from graphprune.rules.context import Context

Leaves = Mapping[str, tuple[Labels, Shape]]
Divisions = dict[Place, Division]


def find_divisions(context: Context, leaves: Leaves, class_of: np.ndarray) -> Divisions:
    """Dimensions of parameters that are rows of shared columns, and are not labelled so yet.

    Args:
        context: of the labelled graph.
        leaves: labels and shape of every parameter and buffer.
        class_of: class of each atom, int64, shape (atoms + 1,).
    """
    width_of = np.zeros(int(class_of.max(initial=0)) + 2, dtype=np.int64)
    for slot in context.shared:
        classes = class_of[slot.numpy()]
        width_of[classes] = np.maximum(width_of[classes], _pitch(slot))
    for place, divided in context.divided.items():
        width_of[class_of[divided.columns.numpy()]] = context.divisions[place].width
    found = {}
    for name, (labels, _) in leaves.items() if width_of.any() else ():
        for slot in labels:
            dims = varying(slot)
            if len(dims) != 1 or int(slot.min()) < 0 or (name, dims[0]) in context.divided:
                continue
            classes = class_of[slot.numpy().reshape(-1)]
            division = _divide(classes, int(width_of[classes].max()) or _own_pitch(classes))
            if division is not None:
                found[name, dims[0]] = division
    return found


def _pitch(grid: Slot) -> int:
    """How far its rows lie apart in the dimension that they are cut from, 0 if not evenly."""
    atoms = grid.numpy().reshape(-1, grid.shape[varying(grid)[-1]])[:, 0]
    steps = np.unique(np.diff(atoms))
    return max(int(steps[0]), 0) if steps.size == 1 else 0


def _own_pitch(classes: np.ndarray) -> int:
    """The least distance between equal channels, 0 where they are side by side or all differ."""
    order = np.argsort(classes, kind="stable")
    steps = np.diff(order)[np.diff(classes[order]) == 0]
    least = int(steps.min(initial=classes.size))
    return least if 1 < least < classes.size else 0


def _divide(classes: np.ndarray, width: int) -> Division | None:
    """Rows of ``width`` channels each, if any share their columns and all of the sharing is that.

    Rows that share some of their columns are made to share all of them.
    """
    if width < 2 or classes.size % width or classes.size == width:
        return None
    places = np.arange(classes.size)
    rows, columns = places // width, places % width
    _, number, times = np.unique(classes, return_inverse=True, return_counts=True)
    if times.max() == 1:
        return None
    size = number.max() + 1
    in_rows = coo_matrix((np.ones(places.size), (number, rows)), (size, rows[-1] + 1)).tocsr()
    in_columns = coo_matrix((np.ones(places.size), (number, columns)), (size, width)).tocsr()
    each = in_rows.getnnz(axis=1)
    if each.max() == 1 or (each * in_columns.getnnz(axis=1) != times).any():
        return None
    _, cluster = connected_components(in_rows.T @ in_rows, directed=False)
    _, shared = np.unique(cluster[rows] * width + columns, return_inverse=True)
    return Division(rows, shared, width)


def removable(leaves: Leaves, free: np.ndarray) -> float:
    """How many elements of parameters may go, by each dimension; ``free`` is bool by atom."""
    total = 0.0
    for labels, shape in leaves.values():
        masks: dict[tuple[int, ...], np.ndarray] = {}
        for slot in labels:
            dims = varying(slot)
            masks[dims] = masks.get(dims, np.False_) | free[slot.numpy()]
        total += math.prod(shape) * sum(float(mask.mean()) for mask in masks.values())
    return total


def of_heads(context: Context, leaves: Leaves, class_of: np.ndarray) -> list[Place]:
    """Divided dimensions whose rows are heads, in order.

    A kernel that another network makes is a dimension of outputs x inputs: its rows are the
    channels that the next layer's weight has by themselves, so that they are channels like others.
    """
    weights = {str(n.target) for node in context.products for n in node.all_input_nodes}
    alone = [
        class_of[slot.numpy().reshape(-1)]
        for name, (labels, _) in leaves.items()
        for slot in labels
        if name in weights and (name, varying(slot)[-1]) not in context.divided
    ]
    channels = np.unique(np.concatenate(alone)) if alone else np.empty(0, dtype=np.int64)
    return [
        place
        for place, divided in context.divided.items()
        if not np.isin(class_of[divided.rows.numpy()], channels).any()
    ]


def whole_heads(context: Context, class_of: np.ndarray) -> Iterator[torch.Tensor]:
    """Atoms of heads that are one channel each, though they have several.

    So they are where heads lie within the channels, (size, heads): sums over the size tie them.
    """
    for slot in context.side_by_side:
        heads = class_of[slot.numpy()].reshape(-1, slot.shape[-1])
        tied = (heads == heads[:, :1]).all(axis=1) & (heads.shape[1] > 1)
        yield slot.reshape(heads.shape)[torch.from_numpy(tied)]


def kinds(
    class_of: np.ndarray, classes: int, marks: Iterable[tuple[Kind, torch.Tensor]]
) -> np.ndarray:
    """The :class:`Kind` of each class, int8; ``marks`` says it of atoms, the last word counts."""
    found = np.full(classes, Kind.PLAIN, dtype=np.int8)
    for kind, atoms in marks:
        found[class_of[atoms.numpy()]] = kind
    return found
