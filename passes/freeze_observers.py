"""Freeze observers: fake quantisation rounds to the ranges that training has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.schema import get_argument
from graphprune.graph.values import get_tensor
from graphprune.passes.base import GraphPass, finished

aten = torch.ops.aten


@dataclass(frozen=True)
class FreezeObservers(GraphPass):
    """Let quantisation-aware layers round as they would be deployed.

    torch.ao's layers watch the range of a tensor and round it in one call, which writes into their
    buffers. Written as rounding alone, with scales and zero points as they are, the call has a rule
    for channels and a form in ONNX. Where the rounding is switched off, the call is dropped.

    Left alone: calls whose switch, scale or zero point is computed.
    """

    name: ClassVar[str] = "freeze-observers"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether any observer was found."""
        watching = graph_module.graph.find_nodes(
            op="call_function", target=aten.fused_moving_avg_obs_fake_quant.default
        )
        modified = False
        for node in watching:
            state = [get_argument(node, name) for name in ("fake_quant_on", "scale", "zero_point")]
            if all(held.op == "get_attr" for held in state):
                _freeze(node, *(get_tensor(graph_module, held.target) for held in state))
                modified = True
        return finished(graph_module, modified)


def _freeze(
    node: fx.Node, switch: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor
) -> None:
    value = get_argument(node, "self")
    if not bool(switch):
        node.replace_all_uses_with(value)
        node.graph.erase_node(node)
        return
    limits = (get_argument(node, "quant_min"), get_argument(node, "quant_max"))
    if get_argument(node, "per_row_fake_quant"):
        steps = (get_argument(node, "scale"), get_argument(node, "zero_point"))
        node.args = (value, *steps, get_argument(node, "ch_axis"), *limits)
        node.target = aten.fake_quantize_per_channel_affine.default
    else:
        # With tensors for numbers it has no shape function in torch (2.13).
        node.args = (value, float(scale), int(zero_point), *limits)
        node.target = aten.fake_quantize_per_tensor_affine.default
    node.kwargs = {}
