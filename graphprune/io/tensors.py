"""Small questions about tensors and nested outputs."""

from __future__ import annotations

import torch
from torch.utils._pytree import tree_leaves


def output_tensors(output: object) -> list[torch.Tensor]:
    """Return all tensors in a model's output, in order.

    Looks into tensors, tuples, lists, dicts, registered pytree nodes, and objects that
    behave like a mapping or carry their tensors as attributes.
    """
    leaves = tree_leaves(output)
    if len(leaves) == 1 and leaves[0] is output and not isinstance(output, torch.Tensor):
        leaves = tree_leaves(dict(vars(output))) if hasattr(output, "__dict__") else []
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def floating_outputs(output: object) -> list[torch.Tensor]:
    """Return the floating tensors in a model's output, in order."""
    return [tensor for tensor in output_tensors(output) if tensor.is_floating_point()]


def first_floating(output: object) -> torch.Tensor | None:
    """Return ``output.logits`` if there is such a tensor, else the first floating tensor."""
    logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, dict):
        logits = output.get("logits")
    if isinstance(logits, torch.Tensor) and logits.is_floating_point():
        return logits
    return next(iter(floating_outputs(output)), None)


def describe(tensor: torch.Tensor) -> str:
    """Return shape and dtype as in ``2x3x8x8:float32``."""
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    return f"{shape}:{str(tensor.dtype).removeprefix('torch.')}"
