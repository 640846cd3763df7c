"""Dry runs: would the graph survive if rows of its grids kept these channels?"""

from __future__ import annotations

import torch
from torch import fx

from graphprune.labels.slots import varying
from graphprune.rules.context import Context
from graphprune.rules.table import find_rule
from graphprune.shrinking.keep import Keep, NotRectangularError
from graphprune.shrinking.rewrite import Rewriter, all_labels, misplaced, rewrite_node


class DryRun:
    """Rewrites a copy of a graph's calls as shrinking would, and takes it back again.

    Only calls on tensors that are labelled along several dimensions are tried: no choice of
    channels can mislead the others.
    """

    def __init__(self, module: fx.GraphModule, context: Context) -> None:
        self._context = context
        self._originals = {node.name: node for node in module.graph.nodes}
        graph = fx.Graph()
        graph.graph_copy(module.graph, {})  # all but the output
        self._graph = graph
        self._nodes = [node for node in graph.nodes if self._is_at_risk(node)]

    def _is_at_risk(self, node: fx.Node) -> bool:
        rule = find_rule(node.target) if node.op == "call_function" else None
        if rule is None or not (rule.moves or rule.rewrite is not None):
            return False
        original = self._originals[node.name]
        met = [original, *original.all_input_nodes]
        return any(len(varying(s)) > 1 for n in met for s in all_labels(self._context, n))

    def misfits(self, atoms: torch.Tensor) -> list[fx.Node]:
        """Nodes of the original graph that would not survive, in order.

        Args:
            atoms: as :attr:`graphprune.shrinking.keep.Keep.atoms`.
        """
        rewriter = Rewriter(self._context, Keep(atoms), self._originals)
        return [
            self._originals[node.name] for node in self._nodes if not self._survives(node, rewriter)
        ]

    def _survives(self, node: fx.Node, rewriter: Rewriter) -> bool:
        before = (node.target, node.args, node.kwargs)
        try:
            rewrite_node(rewriter, node)
            return not misplaced(node, rewriter)
        except NotRectangularError:
            return False
        finally:
            if before != (node.target, node.args, node.kwargs):
                node.target, node.args, node.kwargs = before
