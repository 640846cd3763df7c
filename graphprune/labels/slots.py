"""Slots: integer tensors that say, element by element, which atom a value's element belongs to.

An *atom* is an integer for one removable index of one parameter dimension; ``NONE`` marks elements
that belong to none. A slot has as many dimensions as the value it labels and is stored with size 1
along every dimension on which it is constant. A value carries a tuple of slots; one of its elements
disappears as soon as the atom of any of its slots does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch

NONE = -1

Slot = torch.Tensor
Labels = tuple[Slot, ...]
Shape = tuple[int, ...]
Identity = tuple[Shape, bytes]


def varying(slot: Slot) -> tuple[int, ...]:
    """Dimensions along which the slot is not constant."""
    return long_dims(slot.shape)


@functools.lru_cache(maxsize=1 << 12)
def long_dims(shape: Shape) -> tuple[int, ...]:
    """Dimensions of a size above 1."""
    return tuple(dim for dim, size in enumerate(shape) if size > 1)


def identity(slot: Slot) -> Identity:
    """What two slots share if and only if they are equal: for dictionaries and sets."""
    return tuple(slot.shape), slot.contiguous().numpy().tobytes()


def compact(full: torch.Tensor) -> Slot:
    """Shrink every constant dimension of a label tensor to size 1."""
    found = full.numpy()
    for dim in varying(full):
        first = found[(slice(None),) * dim + (slice(0, 1),)]
        if (found == first).all():
            found = first
    return full if found.shape == full.shape else torch.from_numpy(found)


def along(atoms: torch.Tensor, dim: int, ndim: int) -> Slot:
    """Slot of ``ndim`` dimensions with the 1-D ``atoms`` laid along ``dim``."""
    shape = [1] * ndim
    shape[dim] = atoms.numel()
    return atoms.reshape(shape)


def first_along(slot: Slot, dims: Iterable[int]) -> Slot:
    """The slot's first index along each of ``dims``, kept as dimensions of size 1."""
    for dim in dims:
        slot = slot.narrow(dim, 0, 1)
    return slot


def clean(slots: Sequence[Slot]) -> Labels:
    """Drop empty and repeated slots."""
    kept: list[Slot] = []
    for slot in slots:
        atoms = slot.numpy()
        if not atoms.size or (atoms.flat[0] == NONE and atoms.max() == NONE):
            continue
        if any(slot.shape == other.shape and torch.equal(slot, other) for other in kept):
            continue
        kept.append(slot)
    return tuple(kept)


def apart(labels: Iterable[Slot]) -> list[list[Slot]]:
    """Slots sorted into clusters that have no dimension in common along which they vary."""
    clusters: list[tuple[set[int], list[Slot]]] = []
    for slot in labels:
        dims, slots = set(varying(slot)), [slot]
        others = []
        for known, members in clusters:
            if known & dims:
                dims, slots = dims | known, [*members, *slots]
            else:
                others.append((known, members))
        clusters = [*others, (dims, slots)]
    return [slots for _, slots in clusters]


def unsqueeze(labels: Labels, *dims: int) -> Labels:
    """Insert size-1 dimensions at the given positions (in order), as torch.unsqueeze does."""
    for dim in dims:
        labels = tuple(slot.unsqueeze(dim) for slot in labels)
    return labels


def pad_left(labels: Labels, ndim: int) -> Labels:
    """Broadcasting's leading dimensions."""
    return tuple(slot.reshape((1,) * (ndim - slot.ndim) + tuple(slot.shape)) for slot in labels)


def split_dim(labels: Labels, dim: int, sizes: Sequence[int]) -> Labels:
    """View dimension ``dim`` as several; a slot constant along it stays constant along all."""
    result = []
    splits = len(long_dims(tuple(sizes))) > 1  # else a slot that is compact stays so
    for slot in labels:
        inner = list(sizes) if slot.shape[dim] > 1 else [1] * len(sizes)
        view = slot.reshape([*slot.shape[:dim], *inner, *slot.shape[dim + 1 :]])
        result.append(compact(view) if splits and slot.shape[dim] > 1 else view)
    return tuple(result)


def merge_dims(labels: Labels, dim: int, sizes: Sequence[int]) -> Labels:
    """View ``len(sizes)`` dimensions from ``dim`` on as one (row-major)."""
    result = []
    count = len(sizes)
    for slot in labels:
        before, after = slot.shape[:dim], slot.shape[dim + count :]
        if all(size == 1 for size in slot.shape[dim : dim + count]):
            result.append(slot.reshape(*before, 1, *after))
            continue
        full = slot.expand(*before, *sizes, *after)
        result.append(full.reshape(*before, -1, *after))
    return tuple(result)
