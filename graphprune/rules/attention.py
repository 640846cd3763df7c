"""Fused attention: two contractions with a softmax between them."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.graph.values import shape_of
from graphprune.labels.slots import Labels, Shape, pad_left, unsqueeze, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import Rule, register


def label_attention(context: Context, node: fx.Node) -> Labels:
    """scaled_dot_product_attention(query, key, value, mask): softmax(q k^T + mask) v."""
    query, key, value = node.args[:3]
    mask = node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
    assert isinstance(query, fx.Node)
    assert isinstance(key, fx.Node)
    assert isinstance(value, fx.Node)
    reason = f"attention {node.name}"
    q_shape = shape_of(query)
    keys, k_shape = _for_each_query_head(context, key, q_shape)
    values, v_shape = _for_each_query_head(context, value, q_shape)
    rank = len(q_shape)
    # (..., queries, keys, head size)
    scores_joint = context.multiply(
        [
            (unsqueeze(context.of(query), -2), (*q_shape[:-1], 1, q_shape[-1])),
            (unsqueeze(keys, -3), (*k_shape[:-2], 1, *k_shape[-2:])),
        ],
        reason,
        [rank],
    )
    scores = context.reduce(scores_joint, [rank])
    scores_shape = (*q_shape[:-1], k_shape[-2])
    if isinstance(mask, fx.Node):
        m_shape = shape_of(mask)
        masks = pad_left(context.of(mask), rank)
        lead = (1,) * (rank - len(m_shape))
        scores = context.join([(scores, scores_shape), (masks, lead + m_shape)], reason)
    weights = context.lock(scores, [rank - 1], f"softmax of {node.name}")
    weights = tuple(slot for slot in weights if rank - 1 not in varying(slot))
    # (..., queries, keys, value size)
    joint = context.multiply(
        [
            (unsqueeze(weights, -1), (*scores_shape, 1)),
            (unsqueeze(values, -3), (*v_shape[:-2], 1, *v_shape[-2:])),
        ],
        reason,
        [rank - 1],
    )
    return context.reduce(joint, [rank - 1])


def _for_each_query_head(context: Context, node: fx.Node, q_shape: Shape) -> tuple[Labels, Shape]:
    """Labels and shape of keys or values, each head repeated for the queries that share it."""
    shape = shape_of(node)
    if len(shape) < 3 or shape[-3] in (1, q_shape[-3]):
        return context.of(node), shape
    times = q_shape[-3] // shape[-3]
    repeated = tuple(
        slot.repeat_interleave(times, -3) if slot.shape[-3] > 1 else slot
        for slot in context.of(node)
    )
    return repeated, (*shape[:-3], q_shape[-3], *shape[-2:])


register(Rule(label_attention), torch.ops.aten.scaled_dot_product_attention.default)
