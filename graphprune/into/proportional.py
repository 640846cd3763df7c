"""What a value is proportional to: rows of weights, through rotary positions and after norms.

The way back goes through data movement, sums of which every part is proportional, and products with
what does not depend on the same weights.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from graphprune.graph.replay import replay
from graphprune.graph.values import concrete, is_tensor, shape_of
from graphprune.rules.table import find_rule

aten = torch.ops.aten

# Where the weight stands among the arguments, its dimension of outputs, and where the bias stands.
_PRODUCERS: dict[Any, tuple[int, int, int | None]] = {
    aten.linear.default: (1, 0, 2),
    aten.conv1d.default: (1, 0, 2),
    aten.conv2d.default: (1, 0, 2),
    aten.addmm.default: (2, 1, 0),
    aten.mm.default: (1, 1, None),
}
_SAME = (
    *(aten.contiguous.default, aten.clone.default, aten.alias.default, aten.dropout.default),
    *(aten.neg.default, aten._to_copy.default, aten.to.dtype),
)
_BY_NUMBER = (aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)
_PRODUCTS = (aten.mul.Tensor,)
_JOINS = (aten.cat.default, aten.stack.default)
_SUMS = (aten.add.Tensor, aten.sub.Tensor)
_NORMS = (aten.rms_norm.default, aten.layer_norm.default)
_MOST = 32
"""Ways that are followed at most: rotary positions have three."""

Path = tuple[fx.Node, ...]
"""Calls from one that brings channels forth on, each fed by the one before."""


def proportional_rows(value: fx.Node) -> dict[tuple[str, int], torch.Tensor]:
    """Rows of parameters that ``value`` is proportional to, all together; none if to no such.

    By parameter and dimension, int64, 1-D.
    """
    rows: dict[tuple[str, int], torch.Tensor] = {}
    for path in _Ways().to(value) or ():
        for place, found in _rows_at_start(path):
            rows[place] = torch.cat([rows[place], found]).unique() if place in rows else found
    return rows


class _Ways:
    """Ways from parameters to values, each looked for once."""

    def __init__(self) -> None:
        self._known: dict[fx.Node, list[Path] | None] = {}

    def to(self, node: fx.Node) -> list[Path] | None:
        """All ways to a value that is proportional to parameters; None where it is not."""
        if node not in self._known:
            self._known[node] = self._find(node)
        return self._known[node]

    def _find(self, node: fx.Node) -> list[Path] | None:
        if node.op != "call_function":
            return None
        if node.target in _PRODUCERS or node.target in _NORMS:
            return [(node,)]
        operands = _proportional_to(node)
        if node.target in _PRODUCTS:
            return self._of_product(node, operands)
        parts = [self.to(operand) for operand in operands]
        if not parts or any(part is None for part in parts):
            return None
        paths = [(*path, node) for part in parts for path in part or ()]
        return paths if len(paths) <= _MOST else None

    def _of_product(self, node: fx.Node, operands: list[fx.Node]) -> list[Path] | None:
        """One factor is proportional, and the others do not depend on the same parameters."""
        ways = {operand: paths for operand in operands if (paths := self.to(operand)) is not None}
        if not ways and (gain := _gain(operands)) is not None:
            return [(gain, node)]
        if len(ways) != 1:
            return None
        ((factor, paths),) = ways.items()
        sources = {path[0] for path in paths}
        if any(_reads(other, sources) for other in operands if other is not factor):
            return None  # divided by the root of its own mean square, perhaps
        return [(*path, node) for path in paths]


def _proportional_to(node: fx.Node) -> list[fx.Node]:
    """The operands that a call's value would grow with: one of a product, all of a sum."""
    tensors = [one for one in node.all_input_nodes if is_tensor(one)]
    if node.target in (*_JOINS, *_PRODUCTS) or (node.target in _SUMS and len(tensors) == 2):
        return tensors
    if _passes_on(node) and isinstance(node.args[0], fx.Node):
        return [node.args[0]]
    return []


def _reads(node: fx.Node, sources: set[fx.Node]) -> bool:
    """Whether a value is computed from any of the sources."""
    pending, seen = [node], {node}
    while pending:
        one = pending.pop()
        if one in sources:
            return True
        fresh = [other for other in one.all_input_nodes if other not in seen]
        pending += fresh
        seen.update(fresh)
    return False


def _gain(operands: list[fx.Node]) -> fx.Node | None:
    """The parameter that a norm written out multiplies with."""
    parameters = [one for one in operands if one.op == "get_attr" and len(shape_of(one)) == 1]
    return parameters[0] if len(parameters) == 1 else None


def _rows_at_start(path: Path) -> list[tuple[tuple[str, int], torch.Tensor]]:
    """Parameters at a path's start, each with a dimension and its rows that arrive at the end."""
    first, *rest = path
    if first.op == "get_attr" or first.target in _NORMS:
        leaves = [first] if first.op == "get_attr" else first.all_input_nodes[1:]
        return [
            ((str(leaf.target), 0), torch.arange(shape_of(leaf)[0]))
            for leaf in leaves
            if leaf.op == "get_attr" and len(shape_of(leaf)) == 1
        ]
    place, dim, bias_place = _PRODUCERS[first.target]
    channels = 1 if first.target in (aten.conv1d.default, aten.conv2d.default) else -1
    shape = shape_of(first)
    wide = [1] * len(shape)
    wide[channels] = shape[channels]
    marks: Any = torch.arange(shape[channels]).reshape(wide).expand(shape)
    source = first
    for step in rest:
        marks = _replayed(step, source, marks)
        source = step
    rows = torch.unique(marks)
    names = [(first.args[place], dim)]
    if bias_place is not None and len(first.args) > bias_place:
        names.append((first.args[bias_place], 0))
    return [
        ((str(leaf.target), along), rows[rows >= 0])
        for leaf, along in names
        if isinstance(leaf, fx.Node) and leaf.op == "get_attr"
    ]


def _passes_on(node: fx.Node) -> bool:
    rule = find_rule(node.target)
    moves = node.target is operator.getitem or (rule is not None and rule.moves)
    return moves or node.target in _SAME or _by_number(node)


def _by_number(node: fx.Node) -> bool:
    other = node.args[1] if len(node.args) > 1 else None
    return node.target in _BY_NUMBER and not (isinstance(other, fx.Node) and is_tensor(other))


def _replayed(node: fx.Node, source: fx.Node, marks: Any) -> Any:
    """Marks of a call's value, from those of one operand; -1 for what comes from another."""
    if node.target in (*_SUMS, *_PRODUCTS):
        return marks.expand(shape_of(node))
    if node.target in _SAME or _by_number(node):
        return marks
    if node.target is operator.getitem:
        return marks[node.args[1]]

    def stand_in(other: Any) -> Any:
        if other is source:
            return marks
        return torch.full(shape_of(other), -1) if is_tensor(other) else concrete(other)

    return replay(node, stand_in)
