"""Attention in ONNX, over any number of leading dimensions.

torch.onnx's own translation takes four dimensions alone, and averages all values where a mask lets
a query see nothing; torch gives zero there.
"""

from __future__ import annotations

import math
from typing import Any

import onnx
import torch

from graphprune.exporters.onnx_ops import like, numbers, onnx_translation


def attention(  # noqa: PLR0913 - the operator's own
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(query (…, L, E) · key (…, S, E)ᵀ · scale + mask) · value (…, S, V): (…, L, V).

    Args:
        query: what is asked for.
        key: what is compared with it; leading dimensions broadcast.
        value: what is averaged.
        attn_mask: bool (False: left out) or float (added), broadcasts to (…, L, S).
        dropout_p: none in evaluation.
        is_causal: each position sees those up to its own.
        scale: 1/sqrt(E) if None.
        enable_gqa: each key's head serves several heads of the query, side by side.
    """
    from onnxscript import opset18  # only now: it takes a second

    turned = _turned(key)
    if enable_gqa:
        turned, value = _repeated(turned, key, query), _repeated(value, value, query)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    scores = opset18.MatMul(opset18.Mul(query, like(scale, query)), turned)
    seen = attn_mask if attn_mask is not None and attn_mask.dtype == _BOOL else None
    if is_causal:
        ones = opset18.Expand(like(1.0, query), _lengths(query, key))
        past = opset18.Cast(opset18.Trilu(ones, upper=0), to=_BOOL)
        scores = _where(past, scores, _LEAST)
    elif seen is not None:
        scores = _where(seen, scores, _LEAST)
    elif attn_mask is not None:
        scores = opset18.Add(scores, attn_mask)
    weights = opset18.Softmax(scores, axis=-1)
    if seen is not None:
        weights = _where(seen, weights, 0.0)
    return opset18.MatMul(weights, value)


_BOOL = onnx.TensorProto.BOOL
_LEAST = torch.finfo(torch.float32).min


def _where(mask: Any, values: Any, other: float) -> Any:
    from onnxscript import opset18

    return opset18.Where(mask, values, like(other, values))


def _turned(key: Any) -> Any:
    from onnxscript import opset18

    order = list(range(len(key.shape)))
    order[-2:] = order[:-3:-1]
    return opset18.Transpose(key, perm=order)


def _repeated(values: Any, shared: Any, query: Any) -> Any:
    """The heads of ``values``, as many as ``shared`` has, once for each head that they serve."""
    from onnxscript import opset18

    heads, own = query.shape[-3], shared.shape[-3]
    if heads == own:
        return values
    served = numbers(*(head * own // heads for head in range(heads)))
    return opset18.Gather(values, served, axis=len(shared.shape) - 3)


def _lengths(query: Any, key: Any) -> Any:
    from onnxscript import opset18

    def length(operand: Any) -> Any:
        at = len(operand.shape) - 2
        return opset18.Shape(operand, start=at, end=at + 1)

    return opset18.Concat(length(query), length(key), axis=0)


onnx_translation(torch.ops.aten.scaled_dot_product_attention.default)(attention)
