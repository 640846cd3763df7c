"""FlexAttention and vmap, written out: a graph holds ordinary operators only.

``torch.nn.attention.flex_attention`` compiles a kernel of its own wherever it is called, which
torch.export cannot trace through. What it computes is attention with two functions of the user's,
one that changes scores and one that says which of them count. ``torch.vmap``, on the other hand,
is captured as calls that open and close it, which no rule and no export could read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from graphprune.quiet import quiet


def without_vmap(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with functions under ``torch.vmap`` as they run on whole batches."""
    functorch = "torch._functorch.predispatch"
    modules = [getattr(node.target, "__module__", "") for node in program.graph.nodes]
    if functorch not in modules:
        return program
    with quiet():
        lowered: torch.export.ExportedProgram = program.run_decompositions({})
    return lowered


@contextlib.contextmanager
def flex_attention_written_out() -> Iterator[None]:
    """While open, calls of ``flex_attention`` are a product, a softmax and a product.

    Where this version of torch has it otherwise, nothing is changed.
    """
    from torch.nn.attention import flex_attention as library

    written_out = {
        "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG": True,
        "setup_compilation_env": lambda: contextlib.nullcontext("eager"),
        "flex_attention_hop": _attention,
    }
    before = {name: getattr(library, name, None) for name in written_out}
    if None in before.values():
        yield
        return
    try:
        for name, value in written_out.items():
            setattr(library, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(library, name, value)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    score_mod: Callable[..., torch.Tensor],
    block_mask: tuple[Any, ...],
    *rest: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the operator behind ``flex_attention`` returns: its result and two statistics.

    Args:
        query: (batch, heads, queries, size of a head).
        key: (batch, heads or a divisor of them, keys, size of a head).
        value: like key, but of any size in the last dimension.
        score_mod: of a score and the indices of its example, head, query and key.
        block_mask: a BlockMask as a tuple; its last entry says which scores count, by indices.
        rest: the number that scores are multiplied by, and options of the kernel.
    """
    from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
    from torch.nn.attention.flex_attention import _vmap_for_bhqkv

    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, 1) for tensor in (key, value))
    scores = (query @ key.transpose(-2, -1)) * rest[0]
    places = [torch.arange(size, device=query.device) for size in scores.shape]
    with TransformGetItemToIndex():
        scores = _vmap_for_bhqkv(score_mod, prefix=(0,))(scores, *places)
        counts = _vmap_for_bhqkv(block_mask[-1], prefix=())(*places)
    scores = scores.masked_fill(~counts, -float("inf"))
    weights = torch._safe_softmax(scores, -1)
    return weights.to(query.dtype) @ value, scores.logsumexp(-1), scores.amax(-1)
