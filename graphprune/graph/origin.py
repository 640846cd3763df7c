"""Where a value of a graph comes from."""

from __future__ import annotations

import torch
from torch import fx

aten = torch.ops.aten

_LOOKUPS = (aten.index.Tensor, aten.index_select.default)


def leads_to_parameter(node: fx.Node) -> bool:
    """Whether the value is a parameter, perhaps transposed, reshaped or one of several matrices."""
    while node.op == "call_function" and (
        len(node.all_input_nodes) == 1 or node.target in _LOOKUPS
    ):
        node = node.all_input_nodes[0]
    return node.op == "get_attr"
