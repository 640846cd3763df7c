"""A user's own masked form and rewriting of arguments, in the form that the engine calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.schema import get_argument, set_argument
from graphprune.graph.values import concrete_int, is_tensor
from graphprune.labels.slots import Shape
from graphprune.rules.axes import tensor_arguments

if TYPE_CHECKING:
    from graphprune.proof.masked import MaskedValues
    from graphprune.shrinking.rewrite import Rewriter

Masked = Callable[..., Any]
"""``masked(keep, *args, **kwargs)``: the operator over kept elements alone. ``keep`` holds a bool
tensor of the argument's shape for every tensor argument, by name."""

Rewrite = Callable[[Mapping[str, tuple[Shape, Shape]]], Mapping[str, Any]]
"""``rewrite(shapes)``: new values of arguments, by name, once tensors have shrunk. ``shapes`` holds
(before, after) for every tensor argument by name, and for the result as ``return``, or for several
as ``return0``, ``return1`` …"""


def adapt_rewrite(rewrite: Rewrite) -> Callable[[Rewriter, fx.Node], None]:
    """What :class:`graphprune.rules.rule.Rule` expects, from what users write."""

    def apply(rewriter: Rewriter, node: fx.Node) -> None:
        shapes = {name: rewriter.shapes(n) for name, n in _tensors(node).items()}
        shapes |= _result_shapes(rewriter, node)
        if all(old == new for old, new in shapes.values()):
            return
        for name, value in rewrite(shapes).items():
            set_argument(node, name, value)

    return apply


def _result_shapes(rewriter: Rewriter, node: fx.Node) -> dict[str, tuple[Shape, Shape]]:
    if is_tensor(node):
        return {"return": rewriter.shapes(node)}
    original = rewriter.originals[node.name]
    found = {}
    for number, value in enumerate(original.meta["val"]):
        labels = rewriter.context.labels[original][number]
        old = tuple(concrete_int(size) for size in value.shape)
        found[f"return{number}"] = (old, rewriter.keep.shape(labels, old))  # type: ignore[arg-type]
    return found


def adapt_masked(
    masked: Masked,
) -> Callable[[MaskedValues, fx.Node, tuple[Any, ...], dict[str, Any]], Any]:
    """What :class:`graphprune.rules.rule.Rule` expects, from what users write."""

    def apply(
        values: MaskedValues, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        given = dict(zip(_argument_names(node), args, strict=False)) | kwargs
        masks = {name: values.keep(n) for name, n in _tensors(node).items()}
        keep = {name: mask.expand(given[name].shape) for name, mask in masks.items()}
        return masked(keep, *args, **kwargs)

    return apply


def _argument_names(node: fx.Node) -> list[str]:
    assert isinstance(node.target, torch._ops.OpOverload)
    return [argument.name for argument in node.target._schema.arguments]


def _tensors(node: fx.Node) -> dict[str, fx.Node]:
    """Tensor arguments given in a call, by name."""
    assert isinstance(node.target, torch._ops.OpOverload)
    given = {name: get_argument(node, name) for name in tensor_arguments(node.target)}
    return {name: n for name, n in given.items() if isinstance(n, fx.Node)}
