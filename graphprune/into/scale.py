"""Attention whose scale follows from the head size: move the difference into the weights.

A forward that divides by the root of the head size it finds, as fused attention does by default,
would scale shorter heads otherwise than the model that was trained. Multiplying the weights that
bring forth the queries (or the keys) by sqrt(new / old) undoes exactly that. Whether a forward
does so cannot be seen in the graph, so this is a proposal, to be kept only where it is confirmed.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from graphprune.graph.replay import replay
from graphprune.graph.values import concrete, is_tensor, shape_of
from graphprune.into.sizes import module_path
from graphprune.rules.table import find_rule

aten = torch.ops.aten

_PRODUCTS = (aten.matmul.default, aten.bmm.default, aten.baddbmm.default)
# Where the weight stands among the arguments, its dimension of outputs, and where the bias stands.
_PRODUCERS: dict[Any, tuple[int, int, int | None]] = {
    aten.linear.default: (1, 0, 2),
    aten.conv1d.default: (1, 0, 2),
    aten.conv2d.default: (1, 0, 2),
    aten.addmm.default: (2, 1, 0),
    aten.mm.default: (1, 1, None),
}
_SAME = (aten.contiguous.default, aten.clone.default, aten.alias.default, aten.dropout.default)
_BY_NUMBER = (aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)


@dataclass(frozen=True)
class Scaling:
    """A factor for some entries of a parameter.

    Attributes:
        parameter: qualified name.
        dim: dimension of the parameter that ``rows`` index.
        rows: int64 tensor, 1-D.
        factor: to multiply with.
    """

    parameter: str
    dim: int
    rows: torch.Tensor
    factor: float

    def apply(self, tensor: torch.Tensor) -> None:
        """Multiply the rows of ``tensor``, the parameter, in a copy that becomes its contents."""
        data = tensor.data.clone()
        data.index_copy_(
            self.dim,
            self.rows.to(data.device),
            data.index_select(self.dim, self.rows.to(data.device)) * self.factor,
        )
        tensor.data = data


def proposed_scalings(
    dense: fx.GraphModule, small: fx.GraphModule
) -> dict[str, tuple[Scaling, ...]]:
    """By module whose forward holds an attention over shortened heads, what would make up for it.

    Args:
        dense: the graph before.
        small: the graph after; its nodes have the same names.
    """
    after = {node.name: node for node in small.graph.nodes}
    found: dict[str, list[Scaling]] = defaultdict(list)
    for node in dense.graph.nodes:
        queries = _queries(node)
        if queries is None or node.name not in after:
            continue
        old, new = shape_of(queries)[-1], shape_of(after[queries.name])[-1]
        if old != new:
            for operand in after[node.name].all_input_nodes[:2]:
                scalings = _into_weights(operand, (new / old) ** 0.5)
                if scalings:
                    found[module_path(node)].extend(scalings)
                    break
    return {path: tuple(scalings) for path, scalings in found.items()}


def _queries(node: fx.Node) -> fx.Node | None:
    """The queries of an attention: fused, or a product of two computed values before a softmax."""
    first = node.args[0] if node.args else None
    if node.op != "call_function" or not isinstance(first, fx.Node):
        return None
    if node.target is aten.scaled_dot_product_attention.default:
        return first
    operands = node.all_input_nodes[:2]
    product = node.target in _PRODUCTS and len(operands) == 2
    if not product or any(operand.op == "get_attr" for operand in operands):
        return None
    return first if _reaches_softmax(node, 8) else None


def _reaches_softmax(node: fx.Node, steps: int) -> bool:
    for user in node.users:
        if user.target in (aten.softmax.int, aten._softmax.default):
            return True
        same = is_tensor(user) and shape_of(user)[-1:] == shape_of(node)[-1:]
        if steps and same and user.target not in _PRODUCTS and _reaches_softmax(user, steps - 1):
            return True
    return False


def _into_weights(value: fx.Node, factor: float) -> list[Scaling]:
    """Factors for the parameters of which ``value`` is a rearranged part of the product."""
    chain: list[fx.Node] = []
    node = value
    while node.target not in _PRODUCERS:
        source = node.args[0] if node.args else None
        if not _passes_on(node) or not isinstance(source, fx.Node):
            return []
        chain.append(node)
        node = source
    place, dim, bias_place = _PRODUCERS[node.target]
    channels = 1 if node.target in (aten.conv1d.default, aten.conv2d.default) else -1
    shape = shape_of(node)
    wide = [1] * len(shape)
    wide[channels] = shape[channels]
    marks: Any = torch.arange(shape[channels]).reshape(wide).expand(shape)
    for step in reversed(chain):
        marks = _replayed(step, marks)
    rows = torch.unique(marks)
    names = [(node.args[place], dim)]
    if bias_place is not None and len(node.args) > bias_place:
        names.append((node.args[bias_place], 0))
    return [
        Scaling(str(leaf.target), along, rows, factor)
        for leaf, along in names
        if isinstance(leaf, fx.Node) and leaf.op == "get_attr"
    ]


def _passes_on(node: fx.Node) -> bool:
    rule = find_rule(node.target) if node.op == "call_function" else None
    moves = node.target is operator.getitem or (rule is not None and rule.moves)
    return moves or node.target in _SAME or _by_number(node)


def _by_number(node: fx.Node) -> bool:
    other = node.args[1] if len(node.args) > 1 else None
    return node.target in _BY_NUMBER and not (isinstance(other, fx.Node) and is_tensor(other))


def _replayed(node: fx.Node, marks: Any) -> Any:
    if node.target in _SAME or _by_number(node):
        return marks
    if node.target is operator.getitem:
        return marks[node.args[1]]
    source = node.args[0]
    return replay(node, lambda other: marks if other is source else concrete(other))
