"""Norms: per-channel affine maps, some with statistics over the channels themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.schema import get_argument, has_argument, set_argument
from graphprune.graph.values import concrete, shape_of
from graphprune.labels.slots import Labels, merge_dims, split_dim, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import Rule, register

if TYPE_CHECKING:
    from graphprune.proof.masked import MaskedValues
    from graphprune.shrinking.rewrite import Rewriter

aten = torch.ops.aten


def _per_channel(context: Context, node: fx.Node, labels: Labels, dim: int) -> Labels:
    """Join x with every 1-D tensor argument laid along ``dim``."""
    shape = shape_of(node)
    operands = [(labels, shape)]
    for argument in list(node.args[1:]) + list(node.kwargs.values()):
        if isinstance(argument, fx.Node) and isinstance(argument.meta.get("val"), torch.Tensor):
            laid = [1] * len(shape)
            laid[dim] = shape_of(argument)[0]
            operands.append((tuple(s.reshape(laid) for s in context.of(argument)), tuple(laid)))
    return context.join(operands, f"normalisation {node.name}")


def label_batch_norm(context: Context, node: fx.Node) -> Labels:
    """batch_norm and instance_norm: an affine map of each channel.

    Where channels lie along space (a standardised weight), statistics are those of what is kept.
    """
    assert isinstance(node.args[0], fx.Node)
    return _per_channel(context, node, context.of(node.args[0]), 1)


def _uses_input(node: fx.Node) -> bool:
    flags = ("training", "use_input_stats")
    return any(bool(get_argument(node, flag)) for flag in flags if has_argument(node, flag))


def masked_batch_norm(
    values: MaskedValues, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Batch and instance norm; statistics of the input itself are over kept elements."""
    target: Any = node.target
    apart = [slot for slot in values.labels(node.args[0]) if max(varying(slot), default=0) >= 2]
    if not (apart and _uses_input(node)):
        return target(*args, **kwargs)
    x, weight, bias = args[0], args[1], args[2]
    each = [0, 1] if "instance" in str(node.target) else [1]
    dims = [dim for dim in range(x.ndim) if dim not in each]
    mean, variance = _masked_statistics(x, values.keep(node.args[0]), dims)
    result = (x - mean) * torch.rsqrt(variance + float(get_argument(node, "eps")))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return _affine(
        result,
        None if weight is None else weight.reshape(shape),
        None if bias is None else bias.reshape(shape),
    )


def label_layer_norm(context: Context, node: fx.Node) -> Labels:
    """layer_norm/rms_norm over the trailing dimensions, with an affine of the same shape."""
    x = node.args[0]
    assert isinstance(x, fx.Node)
    shape = shape_of(x)
    operands = [(context.of(x), shape)]
    for argument in list(node.args[2:]) + list(node.kwargs.values()):
        if isinstance(argument, fx.Node):
            lead = (1,) * (len(shape) - len(shape_of(argument)))
            laid = tuple(s.reshape(lead + tuple(s.shape)) for s in context.of(argument))
            operands.append((laid, lead + shape_of(argument)))
    return context.join(operands, f"normalisation {node.name}")


def rewrite_layer_norm(rewriter: Rewriter, node: fx.Node) -> None:
    """The normalised shape is that of the kept elements."""
    assert isinstance(node.args[0], fx.Node)
    old, new = rewriter.shapes(node.args[0])
    if old != new:
        set_argument(node, "normalized_shape", list(new[-len(concrete(node.args[1])) :]))


def _masked_statistics(
    x: torch.Tensor, keep: torch.Tensor, dims: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of x over ``dims``, counting kept elements alone."""
    keep = keep.expand(x.shape)
    count = keep.sum(dims, keepdim=True).clamp(min=1).to(x.dtype)
    mean = torch.where(keep, x, 0).sum(dims, keepdim=True) / count
    variance = torch.where(keep, x - mean, 0).square().sum(dims, keepdim=True) / count
    return mean, variance


def masked_layer_norm(
    values: MaskedValues, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Layer norm with statistics over kept channels."""
    names = dict(zip(("x", "shape", "weight", "bias", "eps"), args, strict=False)) | kwargs
    x = names["x"]
    dims = list(range(x.ndim - len(names["shape"]), x.ndim))
    mean, variance = _masked_statistics(x, values.keep(node.args[0]), dims)
    result = (x - mean) * torch.rsqrt(variance + names.get("eps", 1e-5))
    return _affine(result, names.get("weight"), names.get("bias"))


def masked_rms_norm(
    values: MaskedValues, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Root-mean-square norm with the mean over kept channels."""
    names = dict(zip(("x", "shape", "weight", "eps"), args, strict=False)) | kwargs
    x = names["x"]
    dims = list(range(x.ndim - len(names["shape"]), x.ndim))
    keep = values.keep(node.args[0]).expand(x.shape)
    eps = names.get("eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    count = keep.sum(dims, keepdim=True).clamp(min=1)
    mean = torch.where(keep, x, 0).square().sum(dims, keepdim=True) / count
    return _affine(x * torch.rsqrt(mean + eps), names.get("weight"), None)


def _affine(result: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def label_group_norm(context: Context, node: fx.Node) -> Labels:
    """group_norm: each group of channels must be shortened evenly."""
    x = node.args[0]
    assert isinstance(x, fx.Node)
    groups = int(concrete(node.args[1]))
    sizes = (groups, shape_of(x)[1] // groups)
    grids = split_dim(context.of(x), 1, sizes)
    for slot in grids:
        context.store.add_grid(slot)
    spatial = [slot for slot in grids if max(varying(slot), default=0) > 2]
    context.pin(spatial, f"space of {node.name}")
    labels = merge_dims(tuple(s for s in grids if max(varying(s), default=0) <= 2), 1, sizes)
    return _per_channel(context, node, labels, 1)


def rewrite_group_norm(rewriter: Rewriter, node: fx.Node) -> None:
    """Groups of which nothing is left are not counted."""
    assert isinstance(node.args[0], fx.Node)
    groups = int(concrete(node.args[1]))
    set_argument(node, "num_groups", rewriter.rows_kept(node.args[0], 1, groups))


def masked_group_norm(
    values: MaskedValues, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Group norm with statistics over each group's kept channels."""
    names = dict(zip(("x", "groups", "weight", "bias", "eps"), args, strict=False)) | kwargs
    x, groups = names["x"], names["groups"]
    view = (x.shape[0], groups, -1)
    keep = values.keep(node.args[0]).expand(x.shape).reshape(view)
    mean, variance = _masked_statistics(x.reshape(view), keep, [2])
    result = (x.reshape(view) - mean) * torch.rsqrt(variance + names.get("eps", 1e-5))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    weight, bias = names.get("weight"), names.get("bias")
    return _affine(
        result.reshape(x.shape),
        None if weight is None else weight.reshape(shape),
        None if bias is None else bias.reshape(shape),
    )


register(
    Rule(label_batch_norm, masked=masked_batch_norm, affine=True),
    *(aten.batch_norm.default, aten.instance_norm.default),
)
register(
    Rule(label_layer_norm, rewrite_layer_norm, masked_layer_norm, affine=True, across=True),
    aten.layer_norm.default,
)
register(
    Rule(label_layer_norm, rewrite_layer_norm, masked_rms_norm, affine=True, across=True),
    aten.rms_norm.default,
)
register(
    Rule(label_group_norm, rewrite_group_norm, masked_group_norm, affine=True, across=True),
    aten.group_norm.default,
)
