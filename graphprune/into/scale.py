"""Attention whose scale follows from the head size: move the difference into the weights.

A forward that divides by the root of the head size it finds, as fused attention does by default,
would scale shorter heads otherwise than the model that was trained. Multiplying the weights that
bring forth the queries (or the keys) by sqrt(new / old) undoes exactly that. Whether a forward
does so cannot be seen in the graph, so this is a proposal, to be kept only where it is confirmed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import fx

from graphprune.graph.values import is_tensor, shape_of
from graphprune.into.proportional import proportional_rows
from graphprune.into.sizes import module_path
from graphprune.rules.axes import Term
from graphprune.rules.named_products import einsum_terms

aten = torch.ops.aten

_PRODUCTS = (aten.matmul.default, aten.bmm.default, aten.baddbmm.default, aten.einsum.default)


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
        if node.name not in after or not _is_attention(node):
            continue
        old, new = _head_size(node), _head_size(after[node.name])
        if old != new:
            for operand in after[node.name].all_input_nodes[:2]:
                if rows := proportional_rows(operand):
                    factor = (new / old) ** 0.5
                    _add(found[module_path(node)], rows, factor)
                    break
    return {path: tuple(scalings) for path, scalings in found.items()}


def _add(known: list[Scaling], rows: dict[tuple[str, int], torch.Tensor], factor: float) -> None:
    """Rows that a layer brings forth in several calls are scaled once."""
    for (name, dim), some in rows.items():
        places = [one.rows.tolist() for one in known if (one.parameter, one.dim) == (name, dim)]
        if some.tolist() not in places:
            known.append(Scaling(name, dim, some, factor))


def _is_attention(node: fx.Node) -> bool:
    """Whether it is one fused, or a product of two computed values before a softmax."""
    if node.target is aten.scaled_dot_product_attention.default:
        return True
    operands = node.all_input_nodes[:2]
    product = node.target in _PRODUCTS and len(operands) == 2
    if not product or any(operand.op == "get_attr" for operand in operands):
        return False
    return _reaches_softmax(node, 8)


def _head_size(node: fx.Node) -> int:
    """Over how many products each score is a sum."""
    queries = node.all_input_nodes[0]
    if node.target is not aten.einsum.default:
        return shape_of(queries)[-1]
    terms, output = einsum_terms(str(node.args[0]))
    letters = zip(_without_dots(terms[0], queries), shape_of(queries), strict=True)
    summed = (size for letter, size in letters if letter not in output and letter[:3] != "...")
    return math.prod(summed)


def _without_dots(term: Term, tensor: fx.Node) -> Term:
    """The letters of an operand, with a number for each dimension that dots stand for."""
    hidden = range(len(shape_of(tensor)) - len(term) + 1)
    if "..." not in term:
        return term
    place = term.index("...")
    return (*term[:place], *(f"...{n}" for n in hidden), *term[place + 1 :])


def _reaches_softmax(node: fx.Node, steps: int) -> bool:
    for user in node.users:
        if user.target in (aten.softmax.int, aten._softmax.default):
            return True
        same = is_tensor(user) and shape_of(user)[-1:] == shape_of(node)[-1:]
        if steps and same and user.target not in _PRODUCTS and _reaches_softmax(user, steps - 1):
            return True
    return False
