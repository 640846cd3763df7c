"""Reductions: sums lose terms, means count what is kept, and the rest may not be shortened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.labels.slots import Labels, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register
from graphprune.values import concrete, shape_of

if TYPE_CHECKING:
    from graphprune.masked import MaskedValues

aten = torch.ops.aten


def _argument(node: fx.Node, name: str, default: Any) -> Any:
    """A call's argument by its schema name, positional or keyword, as plain numbers."""
    assert isinstance(node.target, torch._ops.OpOverload)
    for position, argument in enumerate(node.target._schema.arguments):
        if argument.name == name:
            if position < len(node.args):
                return concrete(node.args[position])
            return concrete(node.kwargs.get(name, default))
    return default


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


def label_locked_reduction(context: Context, node: fx.Node) -> NodeLabels:
    """Maxima, variances, norms …: the reduced dimensions keep every element."""
    dims = reduced_dims(node)
    reason = f"reduced by {node.name}"
    locked = context.lock(context.of(node.args[0]), dims, reason)
    locked = tuple(slot for slot in locked if not set(varying(slot)) & set(dims))
    kept = context.reduce(locked, dims, keepdim=bool(_argument(node, "keepdim", False)))
    value = node.meta["val"]
    return [kept for _ in value] if isinstance(value, list | tuple) else kept


def label_locked_map(context: Context, node: fx.Node) -> NodeLabels:
    """softmax, cumsum, sort …: same shape, but each element sees all others along ``dim``."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dims = reduced_dims(node)
    locked = context.lock(context.of(source), dims, f"normalised over by {node.name}")
    locked = tuple(slot for slot in locked if not set(varying(slot)) & set(dims))
    value = node.meta["val"]
    return [locked for _ in value] if isinstance(value, list | tuple) else locked


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


register(Rule(label_sum), *overloads("sum"))
register(Rule(label_sum, masked=masked_mean), *overloads("mean"))
register(
    Rule(label_locked_reduction),
    *overloads(
        *("amax", "amin", "max", "min", "argmax", "argmin", "logsumexp", "prod", "all", "any"),
        *("var", "std", "var_mean", "std_mean", "norm", "linalg_vector_norm", "median", "aminmax"),
    ),
)
register(
    Rule(label_locked_map),
    *overloads("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod"),
    *overloads("logcumsumexp", "sort", "argsort"),
)
register(Rule(label_glu), *overloads("glu"))
