"""Split losses: one that averages becomes the loss of each element, and a mean of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.schema import get_argument, set_argument
from graphprune.passes.base import GraphPass, finished
from graphprune.rules.pointwise import LOSSES

aten = torch.ops.aten

_REDUCTIONS = {1: aten.mean.default, 2: aten.sum.default}


@dataclass(frozen=True)
class SplitLosses(GraphPass):
    """Write the mean or sum in a loss as a call of its own.

    A model that compares features (the codebook of a VQ-VAE, distillation between its parts)
    averages over channels in one call; as two, each has its rule.

    Left alone: losses that return the value of each element already, and cross-entropy, which
    normalises over the classes.
    """

    name: ClassVar[str] = "split-losses"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether any loss was found."""
        modified = False
        for node in list(graph_module.graph.nodes):
            if node.target in LOSSES and get_argument(node, "reduction") in _REDUCTIONS:
                _split(node)
                modified = True
        return finished(graph_module, modified)


def _split(node: fx.Node) -> None:
    reduce = _REDUCTIONS[get_argument(node, "reduction")]
    set_argument(node, "reduction", 0)
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda given: given.meta["val"])
    each: Any = node.target(*args, **kwargs)  # type: ignore[operator]
    with node.graph.inserting_after(node):
        reduced = node.graph.call_function(reduce, (node,))
    reduced.meta = dict(node.meta)
    node.meta["val"] = each
    node.replace_all_uses_with(reduced, delete_user_cb=lambda user: user is not reduced)
