"""Calls of a submodule: what it was given, and which graph can stand for which call."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.graph.trees import Inputs, tensor_leaves


@dataclass(frozen=True)
class Calls:
    """The calls of one submodule during a run of the model.

    Attributes:
        examples: copies of the arguments, one call for each signature, in order.
        count: how many calls there were.
        flops: floating-point operations of all of them, as ``torch.utils.flop_counter`` counts.
    """

    examples: tuple[Inputs, ...] = ()
    count: int = 0
    flops: int = 0


def signature(inputs: Inputs) -> tuple[Hashable, ...]:
    """Structure, shapes and dtypes of a call; equal for calls that differ in values alone."""
    leaves, spec = pytree.tree_flatten(inputs)
    return (repr(spec), *(_key(leaf, tuple(getattr(leaf, "shape", ()))) for leaf in leaves))


def serves(captured: Captured, inputs: Inputs) -> bool:
    """Whether a graph stands for a call: it differs from the graph's example in the batch alone."""
    example = (captured.args, captured.kwargs)
    leaves, spec = pytree.tree_flatten(inputs)
    wanted, wanted_spec = pytree.tree_flatten(example)
    if repr(spec) != repr(wanted_spec):
        return False
    dims = iter(captured.batch_dims)
    batches = set()
    for leaf, want in zip(leaves, wanted, strict=True):
        dim = next(dims, None) if isinstance(want, torch.Tensor) else None
        if dim is not None and isinstance(leaf, torch.Tensor) and leaf.ndim == want.ndim:
            batches.add((leaf.shape[dim], want.shape[dim]))
        if _key(leaf, _without(leaf, dim)) != _key(want, _without(want, dim)):
            return False
    # Inputs that shared a batch size at capture must share one here.
    return len({old for _, old in batches}) == len({new for new, _ in batches})


def with_rows(inputs: Inputs) -> Inputs:
    """A call on empty tensors (no detections, no proposals) given two rows of made-up values.

    A graph captured on no rows at all would prove nothing. Calls with rows stay as they are.
    """
    tensors = tensor_leaves(inputs)
    if not tensors or any(t.ndim == 0 or t.shape[0] != 0 for t in tensors):
        return inputs
    generator = torch.Generator().manual_seed(0)

    def fill(empty: torch.Tensor) -> torch.Tensor:
        shape = (2, *empty.shape[1:])
        if not empty.is_floating_point():
            return torch.zeros(shape, dtype=empty.dtype, device=empty.device)
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.to(device=empty.device, dtype=empty.dtype)

    args, kwargs = pytree.tree_map_only(torch.Tensor, fill, inputs)
    return tuple(args), dict(kwargs)


def _without(leaf: Any, dim: int | None) -> tuple[int, ...]:
    shape = tuple(getattr(leaf, "shape", ()))
    return tuple(-1 if d == dim else size for d, size in enumerate(shape))


def _key(leaf: Any, shape: tuple[int, ...]) -> Hashable:
    if isinstance(leaf, torch.Tensor):
        return ("tensor", shape, leaf.dtype, leaf.device)
    if isinstance(leaf, int | float | str | bool | None):
        return (type(leaf).__name__, leaf)
    return (type(leaf).__name__, id(leaf))
