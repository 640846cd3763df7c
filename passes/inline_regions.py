"""Inline regions: no_grad and autocast blocks, which torch.export keeps as graphs of their own."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.passes.base import GraphPass, finished


@dataclass(frozen=True)
class InlineRegions(GraphPass):
    """Put the bodies of no_grad and autocast regions in the place of their calls.

    Regions may lie within others. Casts that autocast makes must be calls of the body already
    (:func:`graphprune.capturing.autocast.with_casts`).
    """

    name: ClassVar[str] = "inline-regions"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether there was a region."""
        modified = False
        while _inline_regions(graph_module):
            modified = True
        return finished(graph_module, modified)


def _inline_regions(graph_module: fx.GraphModule) -> bool:
    """Inline one level of wrap_with_set_grad_enabled / wrap_with_autocast calls."""
    graph = graph_module.graph
    found = False
    for node in list(graph.nodes):
        kind = getattr(node.target, "__name__", "")
        if node.op != "call_function":
            continue
        if kind == "wrap_with_set_grad_enabled":
            body, inputs = node.args[1], node.args[2:]
        elif kind == "wrap_with_autocast":
            body, inputs = node.args[4], node.args[5:]
        else:
            continue
        found = True
        region = getattr(graph_module, str(body.target))
        inline(graph_module, node, region, inputs)
        graph.erase_node(node)
        if not body.users:
            graph.erase_node(body)
            delattr(graph_module, str(body.target))
    return found


def inline(
    graph_module: fx.GraphModule, call: fx.Node, region: fx.GraphModule, inputs: tuple[Any, ...]
) -> None:
    """Copy a graph to the place of a call, which is left without users; ``inputs`` are its own."""
    graph = graph_module.graph
    mapping: dict[fx.Node, Any] = {}
    placeholders = region.graph.find_nodes(op="placeholder")
    mapping.update(zip(placeholders, inputs, strict=True))
    result: Any = None
    with graph.inserting_before(call):
        for node in region.graph.nodes:
            if node.op == "placeholder":
                continue
            if node.op == "output":
                result = fx.node.map_arg(node.args[0], lambda n: mapping[n])
                continue
            if node.op == "get_attr":
                name = f"{call.name}_{str(node.target).replace('.', '_')}"
                setattr(graph_module, name, getattr(region, str(node.target)))
                copied = graph.get_attr(name)
                copied.meta = dict(node.meta)
            else:
                copied = graph.node_copy(node, lambda n: mapping[n])
            mapping[node] = copied
    if isinstance(result, list | tuple):
        for user in list(call.users):
            if user.target is operator.getitem:
                user.replace_all_uses_with(result[int(str(user.args[1]))])
                graph.erase_node(user)
    else:
        call.replace_all_uses_with(result)
