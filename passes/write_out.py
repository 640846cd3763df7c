"""Write out: a call that no rule knows is given as the calls that torch composes it of."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx
from torch._decomp import decomposition_table
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.passes.infra.pass_base import PassResult
from torch.utils import _pytree as pytree

from graphprune.graph.values import is_tensor
from graphprune.passes.base import GraphPass, finished
from graphprune.passes.inline_regions import inline
from graphprune.rules.rule import RULES
from graphprune.rules.table import find_rule

_ORIGIN = ("stack_trace", "nn_module_stack")
_MOST = 8
"""Calls in the place of one, at most; what takes more is better tried out as it is."""


@dataclass(frozen=True)
class WriteOut(GraphPass):
    """Put what torch itself has for an operator without a rule in the place of its calls.

    ``hstack`` becomes ``cat``, ``channel_shuffle`` two reshapes around a transpose. Only where
    every call of that has a rule, and they are few; else the call stays, for the deletion probe.
    Operators that are not torch's own stay too, and calls that write into their arguments, draw
    random numbers or return as much as the data decide.
    """

    name: ClassVar[str] = "write-out"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether anything was found."""
        modified = False
        for node in list(graph_module.graph.nodes):
            body = _body(node) if _is_unknown(node) else None
            if body is not None:
                inline(graph_module, node, body, tuple(_tensors(node)))
                graph_module.graph.erase_node(node)
                modified = True
        return finished(graph_module, modified)


def _is_unknown(node: fx.Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return False  # an operator of somebody's own may have a gradient of its own
    parts = target not in RULES and not is_tensor(node)  # the sizes of parts are not its arguments
    if find_rule(target) is not None and not parts:
        return False
    if target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags:
        return False
    made = pytree.tree_leaves(node.meta.get("val"))
    return not any(map(free_unbacked_symbols, made))  # each run would name such sizes anew


def _tensors(node: fx.Node) -> list[fx.Node]:
    leaves = pytree.tree_leaves((node.args, node.kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, fx.Node)]


def _body(node: fx.Node) -> fx.GraphModule | None:
    """What torch composes a call of, as a graph of its tensors; None where that says no more."""
    tensors = _tensors(node)
    if not all(map(is_tensor, tensors)):
        return None
    leaves, form = pytree.tree_flatten((node.args, node.kwargs))

    def call(*values: torch.Tensor) -> Any:
        given = iter(values)
        args, kwargs = pytree.tree_unflatten(
            [next(given) if isinstance(leaf, fx.Node) else leaf for leaf in leaves], form
        )
        return node.target(*args, **kwargs)  # type: ignore[operator]

    values = [tensor.meta["val"] for tensor in tensors]
    try:
        with _sizes_left_free(values):
            body = make_fx(call, decomposition_table=_decompositions())(*values)
    except Exception:  # noqa: BLE001 - of torch's own making, for these very arguments
        return None
    (output,) = body.graph.find_nodes(op="output")
    made = pytree.tree_map_only(fx.Node, lambda inner: inner.meta["val"], output.args[0])
    same = _sizes(made) == _sizes(node.meta["val"])  # none that is free has become a number
    calls = [inner for inner in body.graph.nodes if inner.op == "call_function"]
    if not same or len(calls) > _MOST or not all(map(_is_known, body.graph.nodes)):
        return None
    for inner in body.graph.nodes:
        origin = {
            key: node.meta[key] for key in ("stack_trace", "nn_module_stack") if key in node.meta
        }
        inner.meta = {**inner.meta, **origin}
    return body


@contextlib.contextmanager
def _sizes_left_free(values: list[torch.Tensor]) -> Iterator[None]:
    """While open, what a kernel asks of a free size does not fix it for the whole graph."""
    free: list[Any] = [
        size for value in values for size in value.shape if isinstance(size, torch.SymInt)
    ]
    if not free:
        yield
        return
    with free[0].node.shape_env.suppress_guards():
        yield


def _sizes(values: Any) -> list[str]:
    """Of all tensors, as they are written."""
    return [str(tuple(value.shape)) for value in pytree.tree_leaves(values)]


def _is_known(node: fx.Node) -> bool:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return node.op != "get_attr"
    plain = not is_tensor(node) or node.meta["val"].ndim == 0  # such as a number made a tensor
    return plain or find_rule(node.target) is not None


@functools.cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Those of torch, of operators without a rule."""
    return {op: made for op, made in decomposition_table.items() if find_rule(op) is None}
