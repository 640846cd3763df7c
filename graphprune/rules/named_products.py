"""Products over named dimensions: einsum and what can be said in its terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from graphprune.graph.values import shape_of
from graphprune.rules.axes import Axes, Term
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, register

aten = torch.ops.aten


def label_einsum(context: Context, node: fx.Node) -> NodeLabels:
    """einsum(equation, operands): one letter, one dimension."""
    equation, operands = node.args[:2]
    assert isinstance(equation, str)
    assert isinstance(operands, list | tuple)
    terms, output = einsum_terms(equation)
    if any(len(set(term)) < len(term) for term in terms):
        raise NotImplementedError("a diagonal")
    return _product(context, node, operands, terms, output)


def einsum_terms(equation: str) -> tuple[list[Term], Term]:
    """The letters of each operand of ``einsum`` and of its result; ``...`` is one of them."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_letters(term) for term in left.split(",")]
    return terms, _letters(right) if arrow else _implied(terms)


def _letters(term: str) -> Term:
    rest, dots, last = term.partition("...")
    return (*rest, *([dots] if dots else []), *last)


def _implied(terms: list[Term]) -> Term:
    """Without an arrow, letters that stand once remain, in alphabetical order."""
    times = Counter(letter for term in terms for letter in term)
    once = sorted(letter for letter, n in times.items() if n == 1 and letter != "...")
    return (*(["..."] if "..." in times else []), *once)


def label_tensordot(context: Context, node: fx.Node) -> NodeLabels:
    """tensordot(x, y, dims of x, dims of y): the dimensions named are summed over in pairs."""
    x, y, over, other = node.args[:4]
    first, second = [f"x{dim}" for dim in _dims(x)], [f"y{dim}" for dim in _dims(y)]
    assert isinstance(over, list | tuple)
    assert isinstance(other, list | tuple)
    pairs = [(int(i) % len(first), int(j) % len(second)) for i, j in zip(over, other, strict=True)]
    for i, j in pairs:
        second[j] = first[i]
    summed = {first[i] for i, _ in pairs}
    left = [name for name in first + second if name not in summed]
    return _product(context, node, (x, y), [first, second], left)


def label_inner(context: Context, node: fx.Node) -> NodeLabels:
    """inner(x (…, K), y (…, K)): over the last dimension, all others side by side."""
    x, y = node.args[:2]
    first, second = [f"x{dim}" for dim in _dims(x)[:-1]], [f"y{dim}" for dim in _dims(y)[:-1]]
    return _product(context, node, (x, y), [[*first, "k"], [*second, "k"]], [*first, *second])


def label_bilinear(context: Context, node: fx.Node) -> NodeLabels:
    """bilinear(x (…, I), y (…, J), weight (O, I, J), bias (O,)): (…, O)."""
    bias = [["o"]] if len(node.args) > 3 and isinstance(node.args[3], fx.Node) else []
    terms = [["...", "i"], ["...", "j"], ["o", "i", "j"], *bias]
    return _product(context, node, node.args[: len(terms)], terms, ["...", "o"])


def _dims(tensor: Any) -> range:
    return range(len(shape_of(tensor)))


def _product(
    context: Context,
    node: fx.Node,
    operands: Sequence[Any],
    terms: Sequence[Sequence[str]],
    output: Sequence[str],
) -> NodeLabels:
    axes = Axes(tuple(map(tuple, terms)), (tuple(output),), frozenset())
    return axes.label(context, node, list(operands))


register(Rule(label_einsum), aten.einsum.default)
register(Rule(label_tensordot), aten.tensordot.default)
register(Rule(label_inner), aten.inner.default)
register(Rule(label_bilinear), aten.bilinear.default)
