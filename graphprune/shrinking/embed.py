"""Put a small model's weights back into the full-size graph, at the positions it was cut from."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.analysis.groups import Analysis
from graphprune.graph.values import get_tensor
from graphprune.shrinking.keep import Keep


def embed(small: fx.GraphModule, analysis: Analysis, keep: Keep) -> dict[str, torch.Tensor]:
    """Full-size tensors by qualified name: the small model's values where kept, else the original.

    With them the masked reference can judge a model that was trained after it was shrunk.
    """
    full: dict[str, torch.Tensor] = {}
    held = {str(node.target) for node in small.graph.find_nodes(op="get_attr")}
    for name, (labels, shape) in analysis.leaves.items():
        if name not in held:
            continue  # left out of the small model, for no call reads it
        part = get_tensor(small, name).detach()
        original = get_tensor(analysis.module, name).detach().to(part.device, copy=True)
        if part.shape == original.shape:
            full[name] = part
            continue
        where = torch.arange(torch.Size(shape).numel()).reshape(shape)
        chosen = keep.take(where, labels).reshape(-1).to(part.device)
        original.reshape(-1)[chosen] = part.reshape(-1)
        full[name] = original
    return full
