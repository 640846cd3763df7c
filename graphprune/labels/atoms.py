"""Atoms: allocation, equalities, pins and grids, collected while labels flow, solved once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from graphprune.labels.slots import NONE, Identity, Shape, Slot, identity, varying

_NOTHING = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class PinRecord:
    """Atoms that must stay, and why.

    Attributes:
        atoms: int64 tensor, 1-D.
        reason: one line for the user.
        node: name of the graph node where the reason arose.
        source: line of the user's model, "" if unknown.
    """

    atoms: torch.Tensor
    reason: str
    node: str
    source: str


@dataclass(frozen=True)
class Rows:
    """Atoms that stand for whole rows: one is removed if and only if all of its row is.

    Attributes:
        atoms: int64, shape (n,).
        members: the atoms of each row, int64, shape (n, m).
        inner: whether a row runs along the innermost dimension alone, on which channels lie.
    """

    atoms: torch.Tensor
    members: torch.Tensor
    inner: bool


class AtomStore:
    """Collects constraints between atoms. Nothing is solved until :meth:`roots` is called."""

    def __init__(self) -> None:
        self.count = 0
        self.pins: list[PinRecord] = []
        self.grids: dict[Identity, Slot] = {}
        self.rows: dict[tuple[Identity, Shape], tuple[Slot, Rows]] = {}
        self.owners: list[tuple[int, str, int]] = []
        self._edges: list[tuple[np.ndarray, np.ndarray]] = []
        self._edge_nodes: list[str] = []

    def allocate(self, number: int, owner: str = "", dim: int = 0) -> torch.Tensor:
        """``number`` new atoms, int64, 1-D, for dimension ``dim`` of a named parameter."""
        self.owners.append((self.count, owner, dim))
        atoms = torch.arange(self.count, self.count + number, dtype=torch.int64)
        self.count += number
        return atoms

    def unite(self, left: Slot, right: Slot, node: str = "") -> torch.Tensor:
        """Make two broadcastable slots equal, element by element, because of graph node ``node``.

        Returns the atoms (1-D, possibly empty) that met an unlabelled element; the caller pins
        them with its reason.
        """
        if left is right:
            return _NOTHING
        if left.shape != right.shape:
            left, right = torch.broadcast_tensors(left, right)
        one, other = left.numpy().reshape(-1), right.numpy().reshape(-1)
        unlike = one != other
        if not unlike.all():
            one, other = one[unlike], other[unlike]
        lonely = _NOTHING
        if one.size and (one.min() < 0 or other.min() < 0):
            known = (one >= 0) & (other >= 0)
            lonely = torch.from_numpy(np.maximum(one, other)[~known])
            one, other = one[known], other[known]
        if one.size:
            self._edges.append((one, other))
            self._edge_nodes.append(node)
        return lonely

    def pin(self, record: PinRecord) -> None:
        """Note that these atoms must stay."""
        atoms = record.atoms[record.atoms != NONE].reshape(-1)
        if atoms.numel():
            self.pins.append(PinRecord(atoms, record.reason, record.node, record.source))

    def add_grid(self, slot: Slot) -> None:
        """Note that a tensor labelled by ``slot`` must stay rectangular."""
        if len(varying(slot)) > 1:
            self.grids.setdefault(identity(slot), slot)

    def rows_of(self, slot: Slot, dims: Iterable[int]) -> Slot:
        """Slot of size 1 along ``dims`` whose atoms go when all that they stand for is gone."""
        over = [dim for dim in varying(slot) if dim in set(dims)]
        if not over:
            return slot
        key = (identity(slot), tuple(over))
        if key not in self.rows:
            members = slot.movedim(over, list(range(-len(over), 0))).flatten(-len(over))
            members = members.reshape(-1, members.shape[-1])
            atoms = self.allocate(len(members))
            atoms = torch.where((members == NONE).all(1), NONE, atoms)
            shape = [1 if dim in over else size for dim, size in enumerate(slot.shape)]
            inner = over == list(varying(slot)[-1:])
            self.rows[key] = (atoms.reshape(shape), Rows(atoms, members, inner))
        return self.rows[key][0]

    def owned(self) -> np.ndarray:
        """Bool by atom: whether a parameter or buffer has it, not only a value on the way."""
        starts = [start for start, _, _ in self.owners]
        held = np.array([bool(owner) for _, owner, _ in self.owners], dtype=bool)
        return np.repeat(held, np.diff([*starts, self.count]))

    def couplings(self) -> set[tuple[tuple[str, int], tuple[str, int], str]]:
        """Pairs of (parameter, dim) that some graph node coupled, with that node's name."""
        starts = np.array([start for start, _, _ in self.owners], dtype=np.int64)
        found = set()
        for pair, node in zip(self._edges, self._edge_nodes, strict=True):
            ends = np.searchsorted(starts, np.stack(pair), side="right") - 1
            for left, right in np.unique(ends, axis=1).T:
                a, b = self.owners[left][1:], self.owners[right][1:]
                if a[0] and b[0] and a != b:
                    found.add((min(a, b), max(a, b), node))
        return found

    def roots(self) -> np.ndarray:
        """Class of every atom after all equalities: int64, shape (count,), a smallest member."""
        if not self._edges:
            return np.arange(self.count)
        edges = tuple(map(np.concatenate, zip(*self._edges, strict=True)))
        data = np.ones(edges[0].size, dtype=np.int8)
        matrix = coo_matrix((data, edges), shape=(self.count, self.count))
        _, component = connected_components(matrix, directed=False)
        first = np.full(component.max() + 1, self.count, dtype=np.int64)
        np.minimum.at(first, component, np.arange(self.count))
        classes: np.ndarray = first[component]
        return classes
