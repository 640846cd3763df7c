"""Complex numbers and Fourier transforms: the transformed dimensions stay, all others pass."""

from __future__ import annotations

from torch import fx

from graphprune.graph.schema import get_argument
from graphprune.graph.values import concrete, shape_of
from graphprune.labels.slots import Labels, varying
from graphprune.rules.context import Context
from graphprune.rules.pointwise import label_like_first, label_pointwise
from graphprune.rules.rule import Rule, overloads, register


def transformed_dims(node: fx.Node) -> list[int]:
    """Dimensions that a Fourier transform runs along; all of them where none is named."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    rank = len(shape_of(source))
    dims = concrete(get_argument(node, "dim"))
    if dims is None:
        sizes = get_argument(node, "s") if "shift" not in str(node.target) else None
        dims = list(range(rank if sizes is None else len(sizes)))
        return [dim + rank - len(dims) for dim in dims]
    return [dim % rank for dim in ([dims] if isinstance(dims, int) else dims)]


def label_fourier(context: Context, node: fx.Node) -> Labels:
    """Every element of a transformed dimension depends on all of its elements."""
    dims = set(transformed_dims(node))
    labels = context.lock(context.of(node.args[0]), dims, f"transformed by {node.name}")
    return tuple(slot for slot in labels if not dims & set(varying(slot)))


def label_view_as_complex(context: Context, node: fx.Node) -> Labels:
    """(..., 2) to (...): both parts of a number stay together."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    last = len(shape_of(source)) - 1
    labels = context.lock(context.of(source), [last], f"parts of the numbers of {node.name}")
    return tuple(slot.squeeze(last) for slot in labels if slot.shape[last] == 1)


def label_view_as_real(context: Context, node: fx.Node) -> Labels:
    """(...) to (..., 2)."""
    return tuple(slot.unsqueeze(-1) for slot in context.of(node.args[0]))


_KINDS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")

register(
    Rule(label_fourier),
    *overloads(*(f"fft_{kind}{rank}" for kind in _KINDS for rank in ("", "2", "n"))),
    *overloads("fft_fftshift", "fft_ifftshift", "_fft_r2c", "_fft_c2r", "_fft_c2c"),
)
register(Rule(label_view_as_complex), *overloads("view_as_complex"))
register(Rule(label_view_as_real), *overloads("view_as_real"))
register(Rule(label_like_first), *overloads("real", "imag"))
register(Rule(label_pointwise), *overloads("complex", "polar"))
