"""Reductions: sums lose terms, statistics count what is kept, and the rest may not be shortened."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.graph.schema import get_argument, has_argument
from graphprune.graph.values import concrete, shape_of
from graphprune.labels.slots import Labels, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register

if TYPE_CHECKING:
    from graphprune.proof.masked import MaskedValues

aten = torch.ops.aten


def _argument(node: fx.Node, name: str, default: Any) -> Any:
    """A call's argument by its schema name, positional or keyword, as plain numbers."""
    return concrete(get_argument(node, name)) if has_argument(node, name) else default


def reduced_dims(node: fx.Node) -> list[int]:
    """Dimensions that the call reduces; all of them where none is named."""
    assert isinstance(node.args[0], fx.Node)
    rank = len(shape_of(node.args[0]))
    dims = _argument(node, "dim", None)
    if dims is None or dims == []:
        return list(range(rank))
    dims = [dims] if isinstance(dims, int) else dims
    return [dim % rank for dim in dims] if rank else []


def label_sum(context: Context, node: fx.Node) -> Labels:
    """sum and mean: what varies along the reduced dimensions alone just loses terms."""
    keepdim = bool(_argument(node, "keepdim", False))
    return context.reduce(context.of(node.args[0]), reduced_dims(node), keepdim=keepdim)


def masked_mean(
    values: MaskedValues, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Mean over kept elements alone."""
    x = args[0]
    dims = reduced_dims(node)
    keepdim = bool(_argument(node, "keepdim", False))
    keep = values.keep(node.args[0]).expand(x.shape)
    total = torch.where(keep, x, 0).sum(dims, keepdim=keepdim)
    return total / keep.sum(dims, keepdim=keepdim).clamp(min=1).to(x.dtype)


def masked_extreme(
    values: MaskedValues, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Maxima, minima and logsumexp of kept elements alone."""
    assert isinstance(node.target, torch._ops.OpOverload)
    worst = float("inf") if "min" in node.target.name() else float("-inf")
    if not args[0].dtype.is_floating_point:
        info = torch.iinfo(args[0].dtype)
        worst = info.max if worst > 0 else info.min
    gone = ~values.keep(node.args[0])
    return node.target(args[0].masked_fill(gone, worst), *args[1:], **kwargs)


def masked_variance(
    values: MaskedValues, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """var, std, var_mean and std_mean of kept elements alone."""
    del kwargs
    x, dims = args[0], reduced_dims(node)
    keepdim = bool(_argument(node, "keepdim", False))
    correction = _argument(node, "correction", None)
    if correction is None:
        correction = int(_argument(node, "unbiased", True))
    keep = values.keep(node.args[0]).expand(x.shape)
    count = keep.sum(dims, keepdim=True).to(x.dtype)
    mean = torch.where(keep, x, 0).sum(dims, keepdim=True) / count.clamp(min=1)
    squares = torch.where(keep, x - mean, 0).square().sum(dims, keepdim=True)
    spread = squares / (count - correction).clamp(min=0)
    name = str(node.target)
    spread = spread.sqrt() if "std" in name else spread
    if not keepdim:
        spread, mean = spread.squeeze(dims), mean.squeeze(dims)
    return (spread, mean) if "_mean" in name else spread


def label_statistic(context: Context, node: fx.Node) -> NodeLabels:
    """A statistic over channels is that of the channels kept."""
    labels = label_sum(context, node)
    return _for_each_output(node, labels)


def label_locked_reduction(context: Context, node: fx.Node) -> NodeLabels:
    """Maxima, variances, norms …: the reduced dimensions keep every element."""
    locked = _locked(context, node, f"reduced by {node.name}")
    keepdim = bool(_argument(node, "keepdim", False))
    return _for_each_output(node, context.reduce(locked, reduced_dims(node), keepdim=keepdim))


def label_extreme(context: Context, node: fx.Node) -> NodeLabels:
    """max and min: the extreme of the channels kept, unless somebody asks which one it was."""
    asked = [user for user in node.users if user.target is operator.getitem and user.args[1] == 1]
    if any(user.users for user in asked):
        return label_locked_reduction(context, node)
    return label_statistic(context, node)


def label_locked_map(context: Context, node: fx.Node) -> NodeLabels:
    """softmax, cumsum, sort …: same shape, but each element sees all others along ``dim``."""
    return _for_each_output(node, _locked(context, node, f"normalised over by {node.name}"))


def _locked(context: Context, node: fx.Node, reason: str) -> Labels:
    """Labels of the input, less those along the reduced dimensions, which keep their length."""
    dims = set(reduced_dims(node))
    labels = context.lock(context.of(node.args[0]), dims, reason)
    return tuple(slot for slot in labels if not set(varying(slot)) & dims)


def _for_each_output(node: fx.Node, labels: Labels) -> NodeLabels:
    value = node.meta["val"]
    return [labels for _ in value] if isinstance(value, list | tuple) else labels


def label_glu(context: Context, node: fx.Node) -> Labels:
    """glu(x, dim): the two halves are multiplied, so their channels go together."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    shape = shape_of(source)
    dim = int(_argument(node, "dim", -1)) % len(shape)
    result = []
    for slot in context.of(source):
        if slot.shape[dim] == 1:
            result.append(slot)
            continue
        first, second = slot.chunk(2, dim)
        context.unite(first, second, f"gate {node.name}")
        result.append(first)
        context.store.add_grid(first)
    return tuple(result)


def label_norm(context: Context, node: fx.Node) -> NodeLabels:
    """Vector norms: what is masked adds nothing to them, unless small values count for much."""
    name = next((n for n in ("ord", "p") if has_argument(node, n)), None)
    order = _argument(node, name, 2) if name is not None else 2
    if isinstance(order, int | float) and order >= 0:
        return label_sum(context, node)
    return label_locked_reduction(context, node)


register(Rule(label_sum), *overloads("sum"))
register(Rule(label_norm), *overloads("norm", "linalg_vector_norm"))
register(Rule(label_sum, masked=masked_mean), *overloads("mean"))
_WHOLE = ("argmax", "argmin", "prod", "all", "any", "median", "aminmax")
register(Rule(label_locked_reduction), *overloads(*_WHOLE))
register(
    Rule(label_extreme, masked=masked_extreme),
    # max(x, y) is element-wise, unlike all else of that name.
    *(target for target in overloads("max", "min") if torch.Tag.pointwise not in target.tags),
)
register(Rule(label_statistic, masked=masked_extreme), *overloads("amax", "amin", "logsumexp"))
register(
    Rule(label_statistic, masked=masked_variance),
    *overloads("var", "std", "var_mean", "std_mean"),
)
register(
    Rule(label_locked_map),
    *overloads("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod"),
    *overloads("logcumsumexp", "sort", "argsort", "topk"),
)
register(Rule(label_glu), *overloads("glu"))
