"""Normalisations whose affine part can carry a switch: ``(norm(x) * w + b) * s``."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.graph.schema import get_argument, has_argument, schema_of
from graphprune.graph.values import shape_of

# All end in a product with `weight` and a sum with `bias`. The weight of the first kind runs along
# dimension 1 of the value, that of the second along its last dimensions.
_ALONG_CHANNELS = ("aten::batch_norm", "aten::instance_norm", "aten::group_norm")
_ALONG_LAST = ("aten::layer_norm", "aten::rms_norm")


def affine_operands(node: fx.Node) -> tuple[str, ...]:
    """Names of the arguments to multiply so that the node's whole value is multiplied; else ()."""
    schema = schema_of(node)
    if schema is None or schema.name not in (*_ALONG_CHANNELS, *_ALONG_LAST):
        return ()
    if get_argument(node, "weight") is None:
        return ()
    if not has_argument(node, "bias") or get_argument(node, "bias") is None:
        return ("weight",)
    return ("weight", "bias")


def affine_index(node: fx.Node, index: torch.Tensor) -> torch.Tensor | None:
    """The channel index of the node's weight, or None where the weight cannot carry the switch.

    ``index`` broadcasts against the node's value; the answer is int64 of the weight's shape.
    """
    if not affine_operands(node):
        return None
    schema = schema_of(node)
    assert schema is not None
    if schema.name in _ALONG_CHANNELS:
        carried: tuple[int, ...] = (1,)
        sizes: tuple[int, ...] = (shape_of(node)[1],)
    else:
        normalised = get_argument(node, "normalized_shape")
        if not all(isinstance(size, int) for size in normalised):
            return None
        carried = tuple(range(index.ndim - len(normalised), index.ndim))
        sizes = tuple(normalised)
    if any(size != 1 for dim, size in enumerate(index.shape) if dim not in carried):
        return None
    narrow = index.reshape([index.shape[dim] for dim in carried])
    return narrow.expand(sizes)
