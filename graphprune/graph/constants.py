"""Tensors that a graph brings along besides the model's own: named, registered, read by a node."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


def add_constant(
    graph_module: fx.GraphModule, prefix: str, value: torch.Tensor, like: fx.Node
) -> fx.Node:
    """Register ``value`` as a buffer ``prefix_N`` that is not saved, and read it in the graph.

    Args:
        graph_module: what gets the buffer; the node goes to its graph's insertion point.
        prefix: of the name.
        value: a real tensor.
        like: a node whose fake tensors and device the new node shares.
    """
    number = 0
    while hasattr(graph_module, f"{prefix}_{number}"):
        number += 1
    name = f"{prefix}_{number}"
    own = value.to(like.meta["val"].device)
    graph_module.register_buffer(name, own, persistent=False)
    node = graph_module.graph.get_attr(name)
    mode: Any = getattr(like.meta["val"], "fake_mode", None)
    node.meta["val"] = value if mode is None else mode.from_tensor(own, static_shapes=True)
    return node
