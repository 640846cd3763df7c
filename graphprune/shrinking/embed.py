"""Put a small model's weights back into the full-size graph, at the positions it was cut from."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.analysis.groups import Analysis
from graphprune.graph.values import get_tensor
from graphprune.rules.indexing import holds_positions
from graphprune.shrinking.keep import Keep


def embed(small: fx.GraphModule, analysis: Analysis, keep: Keep) -> dict[str, torch.Tensor]:
    """Full-size tensors by qualified name: the small model's values where kept, else the original.

    With them the masked reference can judge a model that was trained after it was shrunk. Constant
    positions are left out: the small model's are other numbers, and no training changes them.
    """
    full: dict[str, torch.Tensor] = {}
    held = {str(node.target) for node in small.graph.find_nodes(op="get_attr")}
    leaves = analysis.module.graph.find_nodes(op="get_attr")
    renumbered = {str(leaf.target) for leaf in leaves if holds_positions(leaf)}
    for name, (labels, shape) in analysis.leaves.items():
        if name not in held or name in renumbered:
            continue  # where it is not held, no call reads it
        part = get_tensor(small, name).detach()
        original = get_tensor(analysis.module, name).detach().to(part.device)
        if part.shape == original.shape:
            full[name] = part
            continue
        where = torch.arange(torch.Size(shape).numel()).reshape(shape)
        chosen = keep.take(where, labels).reshape(-1).to(part.device)
        # Flat, whatever the layout of the memory (channels last).
        flat = original.flatten().clone()
        flat[chosen] = part.flatten()
        full[name] = flat.reshape(shape)
    return full
