"""Fused attention: two contractions with a softmax between them."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.labels.slots import Labels, pad_left, unsqueeze, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import Rule, register
from graphprune.values import shape_of


def label_attention(context: Context, node: fx.Node) -> Labels:
    """scaled_dot_product_attention(query, key, value, mask): softmax(q k^T + mask) v."""
    query, key, value = node.args[:3]
    mask = node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
    assert isinstance(query, fx.Node)
    assert isinstance(key, fx.Node)
    assert isinstance(value, fx.Node)
    reason = f"attention {node.name}"
    if node.kwargs.get("enable_gqa"):
        raise NotImplementedError("grouped-query attention inside the fused operation")
    q_shape, k_shape, v_shape = shape_of(query), shape_of(key), shape_of(value)
    rank = len(q_shape)
    # (..., queries, keys, head size)
    scores_joint = context.multiply(
        [
            (unsqueeze(context.of(query), -2), (*q_shape[:-1], 1, q_shape[-1])),
            (unsqueeze(context.of(key), -3), (*k_shape[:-2], 1, *k_shape[-2:])),
        ],
        reason,
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
            (unsqueeze(context.of(value), -3), (*v_shape[:-2], 1, *v_shape[-2:])),
        ],
        reason,
    )
    return context.reduce(joint, [rank - 1])


register(Rule(label_attention), torch.ops.aten.scaled_dot_product_attention.default)
