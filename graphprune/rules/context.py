"""The five primitives that rules are composed of: move, join, reduce, fresh, lock (and pin)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx

from graphprune.graph.replay import replay_movement
from graphprune.graph.values import concrete_int, is_tensor, shape_of, source_line, static_dims
from graphprune.labels.atoms import AtomStore, PinRecord
from graphprune.labels.divided import Divided, Division, Place
from graphprune.labels.slots import Labels, Shape, Slot, along, clean, compact, first_along, varying
from graphprune.rules.joining import Join
from graphprune.rules.rule import NodeLabels
from graphprune.shrinking.cut import find_cut

MODEL_INPUT = "an input of the model"
"""What a reason says of channels that meet one."""


def _without_dims(slot: Slot, dims: set[int]) -> Slot:
    return slot.reshape([size for dim, size in enumerate(slot.shape) if dim not in dims])


@dataclass(frozen=True)
class Product:
    """A sum of products, as one index space.

    Attributes:
        labels: over the whole index space.
        size: number of multiplications per kernel position.
    """

    labels: Labels
    size: int


@dataclass
class Context:
    """Labels met so far, and the primitives that extend them.

    Attributes:
        store: atoms with their equalities, pins and grids.
        labels: by node.
        products: by contraction node, the index space of each product in it (for counting MACs).
        producers: (node, slot) of the channels that a contraction, lookup or table brings forth.
        node: the graph node whose rule is running.
        shared: grids whose columns have met a tensor that all rows share.
        side_by_side: channels of matrix products side by side, as of heads; the last dimension is
            within one product.
        divisions: dimensions of parameters to be labelled by column and by row.
        divided: the atoms of those that have been.
    """

    store: AtomStore = field(default_factory=AtomStore)
    labels: dict[fx.Node, NodeLabels] = field(default_factory=dict)
    products: dict[fx.Node, list[Product]] = field(default_factory=dict)
    producers: list[tuple[fx.Node, Slot]] = field(default_factory=list)
    node: fx.Node | None = None
    shared: list[Slot] = field(default_factory=list)
    side_by_side: list[Slot] = field(default_factory=list)
    divisions: Mapping[Place, Division] = field(default_factory=dict)
    divided: dict[Place, Divided] = field(default_factory=dict)

    # -- reading -------------------------------------------------------------------------------

    def of(self, argument: Any) -> Labels:
        """Labels of a tensor argument; none for numbers and missing arguments."""
        if not isinstance(argument, fx.Node):
            return ()
        found = self.labels.get(argument, ())
        return found if isinstance(found, tuple) else ()

    def what_is_fixed(self) -> str:
        """For people: what a channel has met that keeps its size at the current node."""
        inputs = self.node.all_input_nodes if self.node is not None else []
        if any(node.op == "placeholder" for node in inputs):
            return MODEL_INPUT
        return "a tensor of fixed size"

    # -- pin and lock --------------------------------------------------------------------------

    def pin(self, labels: Iterable[Slot], reason: str) -> None:
        """The channels of these slots must stay."""
        for slot in labels:
            self._pin_atoms(slot.reshape(-1), reason)

    def _pin_atoms(self, atoms: torch.Tensor, reason: str) -> None:
        if atoms.numel():
            name = self.node.name if self.node is not None else ""
            source = source_line(self.node) if self.node is not None else ""
            self.store.pin(PinRecord(atoms, reason, name, source))

    def unite(self, left: Slot, right: Slot, reason: str) -> None:
        """Channels that meet go together; a channel that meets an unlabelled element stays."""
        name = self.node.name if self.node is not None else ""
        self._pin_atoms(self.store.unite(left, right, name), reason)

    def lock(self, labels: Labels, dims: Iterable[int], reason: str) -> Labels:
        """Forbid shortening along ``dims``; returns the labels made constant along them."""
        locked = set(dims)
        result = []
        rows = []
        for slot in labels:
            hit = [dim for dim in varying(slot) if dim in locked]
            if not hit:
                result.append(slot)
            elif len(hit) == len(varying(slot)):
                self.pin([slot], reason)
            else:
                first = first_along(slot, hit)
                self.unite(slot, first, reason)
                rows.append(first)
        return clean(self.with_rows(result, rows))

    def lock_out(
        self, operand: tuple[Labels, Shape], dims: Iterable[int], reason: str
    ) -> tuple[Labels, Shape]:
        """Lock ``dims`` and leave them out: the labels of all other dimensions, and their sizes."""
        labels, shape = operand
        gone = set(dims)
        rest = [slot for slot in self.lock(labels, gone, reason) if not gone & set(varying(slot))]
        sizes = tuple(size for dim, size in enumerate(shape) if dim not in gone)
        return tuple(_without_dims(slot, gone) for slot in rest), sizes

    # -- join ----------------------------------------------------------------------------------

    def join(self, operands: Sequence[tuple[Labels, Shape]], reason: str) -> Labels:
        """Broadcast operands of equal rank against each other and make their labels agree.

        Args:
            operands: (labels, shape) of each; shapes broadcast against each other.
            reason: why, should something have to be pinned.
        """
        return Join(self, operands, reason).run()

    def multiply(
        self, operands: Sequence[tuple[Labels, Shape]], reason: str, reduced: Collection[int] = ()
    ) -> Labels:
        """Join of the operands of a contraction, whose index space is noted for the MACs.

        ``reduced`` are the dimensions to be summed over; along others that several operands have,
        there are products side by side.
        """
        joint = self.join(operands, reason)
        sizes = np.array([shape for _, shape in operands])
        beside = set(np.flatnonzero((sizes > 1).sum(axis=0) > 1).tolist()) - set(reduced)
        for slot in joint:
            self.store.add_grid(slot)
            if dims := sorted(beside.intersection(varying(slot))):
                self.side_by_side.append(slot.movedim(dims, [*range(len(dims))]).flatten(len(dims)))
        if self.node is not None:
            size = math.prod(np.broadcast_shapes(*(shape for _, shape in operands)))
            self.products.setdefault(self.node, []).append(Product(joint, size))
        return joint

    def pointwise(self, arguments: Sequence[Any], reason: str) -> Labels:
        """Join of tensor arguments under broadcasting, as in any element-wise operation."""
        nodes = [a for a in arguments if isinstance(a, fx.Node) and is_tensor(a)]
        rank = max((len(shape_of(n)) for n in nodes), default=0)
        operands = []
        for n in nodes:
            shape = shape_of(n)
            extra = (1,) * (rank - len(shape))
            labels = tuple(s.reshape(extra + tuple(s.shape)) for s in self.of(n))
            operands.append((labels, extra + shape))
        return self.join(operands, reason)

    # -- reduce --------------------------------------------------------------------------------

    def reduce(self, labels: Labels, dims: Iterable[int], *, keepdim: bool = False) -> Labels:
        """Sum over ``dims``: what varies along them alone just loses terms.

        A row of a grid of which all terms are gone goes itself.
        """
        gone = set(dims)
        result: list[Slot] = []
        rows: list[Slot] = []
        for slot in labels:
            vary = varying(slot)
            hit = [dim for dim in vary if dim in gone]
            rest = [dim for dim in vary if dim not in gone]
            if hit and not rest:
                continue
            if hit and max(rest) < min(hit):
                rows.append(self.store.rows_of(slot, hit))
                continue
            if hit:
                first = first_along(slot, hit)
                self.unite(slot, first, "summed over rows of a grid")
                slot = first
            result.append(slot)
        result = self.with_rows(result, rows)
        if not keepdim:
            result = [_without_dims(slot, gone) for slot in result]
        return clean(result)

    def with_rows(self, slots: list[Slot], rows: list[Slot]) -> list[Slot]:
        """Add what has become of grids: their rows, which other slots may name already."""
        for row in rows:
            if not any(self._same_rows(other, row) for other in slots):
                slots = [*slots, row]
        return slots

    def _same_rows(self, slot: Slot, rows: Slot) -> bool:
        """Whether the slot varies along the rows too, which are then the same rows."""
        dims = varying(slot)
        shared = set(varying(rows))
        inner = [dim for dim in dims if dim not in shared]
        if not shared <= set(dims) or (inner and min(inner) < max(shared)):
            return False
        self.unite(self.store.rows_of(slot, inner), rows, "rows of two grids that go together")
        return True

    # -- fresh ---------------------------------------------------------------------------------

    def fresh(self, node: fx.Node) -> Labels:
        """New atoms on every fixed dimension of a tensor that the graph itself creates."""
        return self.leaf(shape_of(node), removable=static_dims(node))

    def leaf(
        self, shape: Shape, owner: str = "", removable: Sequence[bool] | None = None
    ) -> Labels:
        """One new atom per index of each dimension of size above 1."""
        slots = []
        for dim, size in enumerate(shape):
            if size > 1 and (removable is None or removable[dim]):
                slots.append(along(self.store.allocate(size, owner, dim), dim, len(shape)))
        return tuple(slots)

    # -- move ----------------------------------------------------------------------------------

    def move(self, node: fx.Node, source: fx.Node) -> NodeLabels:
        """Run the node's own operation on the labels of ``source`` (its other inputs concrete)."""
        results: list[list[Slot]] | None = None
        for slot in self.of(source):
            cut = find_cut(node, (slot,)) if node.args[0] is source else None
            if cut is None:
                outputs = replay_movement(node, source, slot.expand(shape_of(source)))
            else:
                outputs = cut.call(node, slot.expand(cut.shape(shape_of(source))))
            if results is None:
                results = [[] for _ in outputs]
            for collected, output in zip(results, outputs, strict=True):
                collected.append(compact(output))
        value = node.meta["val"]
        several = isinstance(value, list | tuple)
        values = list(value) if several else [value]
        found = [self._moved(*pair, source) for pair in zip(results or [], values, strict=False)]
        found = found or [() for _ in values]
        return found if several else found[0]

    def _moved(self, slots: list[Slot], value: torch.Tensor, source: fx.Node) -> Labels:
        """Labels of a result of data movement, from what its elements have become.

        A piece without elements has none to tell by. It is labelled like a sum over the dimensions
        that it lacks.
        """
        before, after = shape_of(source), tuple(map(concrete_int, value.shape))
        if 0 not in after:
            return clean(slots)
        if 0 in before or len(before) != len(after):
            self.pin(self.of(source), "part of a tensor without elements")
            return ()
        gone = [dim for dim, size in enumerate(after) if size == 0]
        return self.reduce(self.of(source), gone, keepdim=True)
