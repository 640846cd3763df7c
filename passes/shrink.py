"""Shrink: remove channels from parameters, buffers and every size baked into the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.analysis.groups import Analysis
from graphprune.choosing.plan import Plan
from graphprune.errors import PassError
from graphprune.graph.values import get_tensor, is_tensor, set_tensor, shape_of
from graphprune.passes.base import GraphPass
from graphprune.shrinking.refresh import refresh_shapes
from graphprune.shrinking.rewrite import Rewriter, misplaced, rewrite_graph


@dataclass(frozen=True)
class Shrink(GraphPass):
    """Slice a graph to what a plan keeps. The only code that slices tensors.

    1. parameters and buffers are sliced, tied ones once;
    2. sizes, bounds, group counts and normalised shapes in calls are rewritten;
    3. every data movement is replayed on positions and must agree with the labels;
    4. shapes are propagated anew and must be those that the labels foretell.

    Left alone: everything that the plan does not name.

    Attributes:
        analysis: of the graph this one is a copy of (same node names).
        plan: what to keep.
    """

    name: ClassVar[str] = "shrink"
    recompiles: ClassVar[bool] = True
    analysis: Analysis
    plan: Plan

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Shrink in place.

        Raises:
            PassError: the plan does not fit the graph.
        """
        keep = self.plan.keep(self.analysis)
        originals = {node.name: node for node in self.analysis.module.graph.nodes}
        rewriter = Rewriter(self.analysis.context, keep, originals)
        sliced: dict[int, torch.Tensor] = {}
        modified = False
        for name, (labels, shape) in self.analysis.leaves.items():
            if keep.shape(labels, shape) == shape:
                continue
            modified = True
            tensor = get_tensor(graph_module, name)
            if id(tensor) not in sliced:
                part = keep.take(tensor.detach(), labels).contiguous()
                if isinstance(tensor, torch.nn.Parameter):
                    part = torch.nn.Parameter(part, requires_grad=tensor.requires_grad)
                sliced[id(tensor)] = part
            set_tensor(graph_module, name, sliced[id(tensor)])
        rewritten = bool(rewrite_graph(graph_module.graph, rewriter))
        modified |= rewritten
        for name, positions in rewriter.constants.items():
            set_tensor(graph_module, name, positions)
        for node in graph_module.graph.nodes:
            if misplaced(node, rewriter):
                raise PassError(
                    f"shrink: {node.name} would reorder channels; nothing was delivered"
                )
        if rewritten:
            graph_module.recompile()
        if modified:
            refresh_shapes(graph_module)
            _check_shapes(graph_module, rewriter)
        return PassResult(graph_module, modified)


def _check_shapes(graph_module: fx.GraphModule, rewriter: Rewriter) -> None:
    for node in graph_module.graph.nodes:
        if node.op == "get_attr" and node.target in rewriter.constants:
            continue
        if node.op in ("call_function", "get_attr") and is_tensor(node):
            _, foretold = rewriter.shapes(node)
            if shape_of(node) != foretold:
                raise PassError(
                    f"shrink: {node.name} has shape {shape_of(node)} where {foretold} was foretold"
                )
