"""Cost of a model under a choice of channels: parameters and MACs, without building it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from graphprune.analysis.groups import Analysis
from graphprune.graph.flops import counted_flops
from graphprune.graph.replay import replay
from graphprune.graph.values import concrete, get_tensor, is_tensor, shape_of
from graphprune.shrinking.keep import Keep


@dataclass(frozen=True)
class CostModel:
    """Parameters and MACs as functions of the classes kept.

    MACs are half the floating-point operations of :mod:`graphprune.graph.flops` at the captured
    batch; for fractions of the dense model the batch cancels out.
    """

    analysis: Analysis
    node_macs: dict[fx.Node, float]

    def macs(self, classes: np.ndarray) -> float:
        """MACs with the classes marked True (bool by class), at the captured batch."""
        keep = self.analysis.keep(classes)
        return sum(macs * self._fraction(node, keep) for node, macs in self.node_macs.items())

    def _fraction(self, node: fx.Node, keep: Keep) -> float:
        """Share of a node's multiplications that stays."""
        products = self.analysis.context.products.get(node)
        if not products:
            return keep.fraction(self.analysis.context.of(node))
        total = sum(product.size for product in products)
        return sum(p.size * keep.fraction(p.labels) for p in products) / total

    def params(self, classes: np.ndarray) -> float:
        """Trainable values kept; tied parameters count once."""
        keep = self.analysis.keep(classes)
        total = 0.0
        for name in _own_parameters(self.analysis.module):
            labels, shape = self.analysis.leaves[name]
            total += float(torch.Size(shape).numel()) * keep.fraction(labels)
        return total

    def channels(self, classes: np.ndarray) -> float:
        """Channels kept, of all groups together."""
        return float(sum(int(classes[group.channels].sum()) for group in self.analysis.groups))

    def of(self, kind: str) -> Callable[[np.ndarray], float]:
        """The measure of a target kind."""
        return {"macs": self.macs, "params": self.params, "channels": self.channels}[kind]

    def dense(self, kind: str) -> float:
        """The measure of a target kind with nothing removed."""
        return self.of(kind)(np.ones(self.analysis.classes, dtype=bool))


def _own_parameters(module: fx.GraphModule) -> list[str]:
    """Names of the parameters that the graph reads, each tensor once."""
    seen: dict[int, str] = {}
    for node in module.graph.find_nodes(op="get_attr"):
        if node.users and isinstance(node.meta.get("val"), torch.Tensor):
            tensor = get_tensor(module, str(node.target))
            if isinstance(tensor, torch.nn.Parameter):
                seen.setdefault(id(tensor), str(node.target))
    return list(seen.values())


def cost_model(analysis: Analysis) -> CostModel:
    """Count the dense MACs of every node, on fake tensors."""
    macs = {}
    for node in analysis.module.graph.nodes:
        if node.op == "call_function" and _contracts(node):
            products = analysis.context.products.get(node, ())
            flops = _flops(node, sum(product.size for product in products))
            if flops:
                macs[node] = flops / 2
    return CostModel(analysis, macs)


def _contracts(node: fx.Node) -> bool:
    """Whether it is worth asking the counter: two tensors go in and some come out."""
    tensors = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), torch.Tensor)]
    pointwise = isinstance(node.target, torch._ops.OpOverload) and (
        torch.Tag.pointwise in node.target.tags
    )
    value = node.meta.get("val")
    several = isinstance(value, list | tuple) and any(isinstance(v, torch.Tensor) for v in value)
    return len(tensors) >= 2 and not pointwise and (is_tensor(node) or several)


def _flops(node: fx.Node, products: int) -> float:
    """Operations of one call; twice its ``products`` where it does not run without values."""

    def empty(argument: fx.Node) -> Any:
        if is_tensor(argument):
            value = argument.meta["val"]
            return torch.empty(shape_of(argument), dtype=value.dtype, device="meta")
        return concrete(argument)

    try:
        with counted_flops() as counter:
            replay(node, empty)
    except NotImplementedError:  # istft, say, looks at its window
        return 2.0 * products
    return float(counter.get_total_flops())
