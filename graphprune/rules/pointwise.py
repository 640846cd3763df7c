"""Element-wise operations: inputs broadcast, their labels meet and become equal."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import fx

from graphprune.graph.schema import get_argument
from graphprune.graph.values import shape_of
from graphprune.labels.slots import Labels, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register

# Element-wise, but without torch's pointwise tag.
_UNTAGGED = (
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "feature_alpha_dropout",
    "_to_copy",
    "lift_fresh_copy",
    "lift_fresh",
    "fill",
    "zero",
    "masked_fill",
    "hardswish",
    "multiply",
    "zeros_like",
    "ones_like",
    "full_like",
    "empty_like",
    "rand_like",
    "randn_like",
    "bernoulli",
    "copy",
    "rrelu",
    "log_sigmoid",
    "fake_quantize_per_tensor_affine",
    # Python's &, | and ^ on tensors.
    "__and__",
    "__or__",
    "__xor__",
    # Schema-wise views, but of the same elements, and some change the dtype.
    "to",
    "contiguous",
    "detach",
    "alias",
    # Views of which the elements are read with another sign.
    "_conj",
    "resolve_conj",
    "resolve_neg",
)


LOSSES = frozenset(
    overloads(
        *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "kl_div"),
        *("binary_cross_entropy", "binary_cross_entropy_with_logits", "poisson_nll_loss"),
    )
)
"""Losses of each element, unless they are asked to average or to add up."""


def label_pointwise(context: Context, node: fx.Node) -> Labels:
    """Join of every tensor argument."""
    return context.pointwise(node.all_input_nodes, f"element-wise {node.name}")


POINTWISE = Rule(label_pointwise)


@functools.cache
def is_pointwise(target: object) -> bool:
    """Whether torch itself tags this overload, or the one it is the in-place form of, pointwise."""
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if torch.Tag.pointwise in target.tags:
        return True
    name = target._overloadpacket.__name__
    if not name.endswith("_"):
        return False
    packet = getattr(torch.ops.aten, name.rstrip("_"), None)
    overload = getattr(packet, target._overloadname, None) if packet is not None else None
    return overload is not None and torch.Tag.pointwise in overload.tags


def label_like_first(context: Context, node: fx.Node) -> Labels:
    """type_as and its kind: of the second tensor nothing but the dtype is used."""
    return context.of(node.args[0])


def label_prelu(context: Context, node: fx.Node) -> Labels:
    """prelu(x, weight): a weight of several values lies along dimension 1."""
    x, weight = node.all_input_nodes[:2]
    if int(weight.meta["val"].numel()) == 1:
        return context.of(x)
    return _along(context, node, x, [weight], 1)


def label_fake_quantize(context: Context, node: fx.Node) -> Labels:
    """fake_quantize(x, scale, zero_point, axis): both lie along the axis of x."""
    x, *steps = node.all_input_nodes
    return _along(context, node, x, steps, get_argument(node, "axis"))


def _along(
    context: Context, node: fx.Node, x: fx.Node, vectors: Sequence[fx.Node], axis: int
) -> Labels:
    """Join of x and vectors that lie along one of its dimensions."""
    rank = x.meta["val"].ndim
    parts = [(context.of(x), shape_of(x))]
    for vector in vectors:
        laid = [1] * rank
        laid[axis] = int(vector.meta["val"].numel())
        parts.append((tuple(slot.reshape(laid) for slot in context.of(vector)), tuple(laid)))
    return context.join(parts, f"element-wise {node.name}")


# weight_norm(v, g): each row of v divided by its length, to which what is removed adds nothing;
# renorm(v): each row that is longer than a bound.
_ROW_BY_ROW = ("_weight_norm", "_weight_norm_interface", "renorm")


def label_weight_norm(context: Context, node: fx.Node) -> NodeLabels:
    """Both results of the joint form carry the channels of the rows; so does the weight."""
    labels = label_pointwise(context, node)
    value = node.meta["val"]
    if not isinstance(value, list | tuple):
        return labels
    along_rows = tuple(s for s in labels if all(value[1].shape[d] > 1 for d in varying(s)))
    return [labels, along_rows]


def label_loss(context: Context, node: fx.Node) -> Labels:
    """A loss of each element (``passes/split_losses.py`` sees to it that it is no mean)."""
    if get_argument(node, "reduction"):
        raise NotImplementedError("a mean or a sum")
    return label_pointwise(context, node)


register(Rule(label_weight_norm), *overloads(*_ROW_BY_ROW))
register(Rule(label_loss), *LOSSES)
register(POINTWISE, *overloads(*_UNTAGGED, *(f"{name}_" for name in _UNTAGGED)))
register(Rule(label_like_first), *overloads("type_as"))
register(Rule(label_prelu), *overloads("prelu"))
register(
    Rule(label_fake_quantize),
    *overloads("fake_quantize_per_channel_affine", "_fake_quantize_learnable_per_channel_affine"),
)
