"""Attention whose scale follows from the head size: move the difference into the weights.

A forward that divides by the root of the head size it finds, as fused attention does by default,
would scale shorter heads otherwise than the model that was trained. Multiplying the weights that
bring forth the queries (or the keys) by sqrt(new / old) undoes exactly that. Whether a forward
does so cannot be seen in the graph, so this is a proposal, to be kept only where it is confirmed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import fx

from graphprune.graph.values import is_tensor, shape_of
from graphprune.into.proportional import proportional_rows
from graphprune.into.sizes import module_path

aten = torch.ops.aten

_PRODUCTS = (aten.matmul.default, aten.bmm.default, aten.baddbmm.default)


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
                if rows := proportional_rows(operand):
                    factor = (new / old) ** 0.5
                    found[module_path(node)] += [
                        Scaling(name, dim, some, factor) for (name, dim), some in rows.items()
                    ]
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
