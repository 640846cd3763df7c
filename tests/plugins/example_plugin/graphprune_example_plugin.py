"""A graph pass and a criterion for graphprune, shipped by another distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from graphprune.criteria.base import Evidence, weights_by_channel
from graphprune.passes import GraphPass, PassResult


@dataclass(frozen=True)
class MergeRelus(GraphPass):
    """relu(relu(x)) becomes relu(x), at most ``limit`` times where a limit is given."""

    name: ClassVar[str] = "merge-relus"
    limit: int | None = None

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place."""
        merged = 0
        for node in list(_relus(graph_module.graph)):
            (source,) = node.all_input_nodes
            if source.target is node.target and merged != self.limit:
                node.replace_all_uses_with(source)
                graph_module.graph.erase_node(node)
                merged += 1
        return PassResult(graph_module, merged > 0)

    def ensures(self, graph_module: fx.GraphModule) -> None:
        """Without a limit no relu may be left that reads another."""
        for node in _relus(graph_module.graph):
            if self.limit is None and node.all_input_nodes[0].target is node.target:
                raise ValueError(f"{node.name} still reads another relu")


def _relus(graph: fx.Graph) -> list[fx.Node]:
    return graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)


@dataclass(frozen=True)
class LargestWeight:
    """A channel matters as much as the largest weight that holds it."""

    name: ClassVar[str] = "largest-weight"

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """Scores by group name, shape (D,)."""
        scores = {}
        for group in evidence.analysis.groups:
            largest = torch.zeros(group.size)
            for values, channels in weights_by_channel(evidence.analysis, group):
                at = channels.expand(values.shape).reshape(-1)
                sizes = values.abs().reshape(-1)[at >= 0]
                largest.scatter_reduce_(0, at[at >= 0], sizes, "amax")
            scores[group.name] = largest
        return scores
