"""Drop expands: a value that is about to be broadcast need not be expanded first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.values import is_tensor, shape_of
from graphprune.passes.base import GraphPass, finished
from graphprune.rules.pointwise import is_pointwise

aten = torch.ops.aten

_EXPANDS = (aten.expand.default, aten.expand_as.default, aten.broadcast_to.default)


@dataclass(frozen=True)
class DropExpands(GraphPass):
    """Let element-wise calls broadcast by themselves.

    ``x / norm.expand_as(x)`` becomes ``x / norm``: an expanded dimension has a size of its own,
    which would have to agree with the channels kept of ``x``, and nothing says which those are.

    Left alone: an expand that any other call reads, that gives a result its shape, or that is
    written to.
    """

    name: ClassVar[str] = "drop-expands"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether anything was dropped."""
        modified = False
        for node in reversed(list(graph_module.graph.nodes)):
            if (
                node.target in _EXPANDS
                and node.users
                and all(_broadcasts(u, node) for u in node.users)
            ):
                node.replace_all_uses_with(node.args[0])
                graph_module.graph.erase_node(node)
                modified = True
        return finished(graph_module, modified)


def _broadcasts(user: fx.Node, expanded: fx.Node) -> bool:
    """Whether an element-wise call gives the same without the expand."""
    if user.op != "call_function" or not is_pointwise(user.target) or not is_tensor(user):
        return False
    if user.target._schema.is_mutable or expanded not in user.args:  # type: ignore[union-attr]
        return False
    source = expanded.args[0]
    assert isinstance(source, fx.Node)
    shapes = [
        shape_of(source if node is expanded else node)
        for node in user.all_input_nodes
        if is_tensor(node)
    ]
    return tuple(torch.broadcast_shapes(*shapes)) == shape_of(user)
