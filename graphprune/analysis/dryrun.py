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
        self._graph = fx.Graph()
        self._copies: dict[fx.Node, fx.Node] = {}
        self._nodes = [self._copy(node) for node in module.graph.nodes if self._is_at_risk(node)]

    def _copy(self, node: fx.Node) -> fx.Node:
        """A copy of a call, with placeholders for what nobody rewrites."""
        self._copies[node] = self._graph.node_copy(node, self._stand_in)
        return self._copies[node]

    def _stand_in(self, node: fx.Node) -> fx.Node:
        if node not in self._copies:
            made = self._graph.create_node("placeholder", node.name, name=node.name)
            made.meta = dict(node.meta)
            self._copies[node] = made
        return self._copies[node]

    def _is_at_risk(self, node: fx.Node) -> bool:
        rule = find_rule(node.target) if node.op == "call_function" else None
        if rule is None or not (rule.moves or rule.rewrite is not None):
            return False
        met = [node, *node.all_input_nodes]
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
