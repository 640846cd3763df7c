"""Trying an operator out: which calls may be run on made-up data, the data, and comparing results.

Only operators that are functions of their arguments alone are run: nothing random, nothing in
place, no result whose shape depends on data, no integer tensors (their valid range is unknown), no
half precision (too coarse to tell a changed value from rounding).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.graph.values import concrete, concrete_int, is_tensor, shape_of
from graphprune.labels.slots import Shape

DRAWS = ("normal", "positive", "negative", "wide", "normal")
"""Kinds of random data: a maximum, say, is hard to tell from a sum's kin on one kind alone."""
LARGEST = 2**24
"""Elements of all tensors of a call together, up to which it is run."""

_SAMPLE = 4096
_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bool)
_TAGS = {
    torch.Tag.nondeterministic_seeded: "torch marks it as random",
    torch.Tag.data_dependent_output: "its result depends on data in a way that has no shape",
    torch.Tag.dynamic_output_shape: "the shape of its result depends on data",
    torch.Tag.inplace_view: "it shares or overwrites memory",
}


@dataclass(frozen=True)
class TensorLike:
    """A tensor's shape and dtype."""

    shape: Shape
    dtype: torch.dtype


@dataclass(frozen=True)
class Signature:
    """A call with shapes and dtypes in place of its tensors; equal calls behave alike.

    Attributes:
        target: the operator.
        leaves: its arguments in flattening order, tensors as :class:`TensorLike`.
        layout: how the arguments nest, as text.
        spec: how they nest.
        outputs: what it returns.
    """

    target: torch._ops.OpOverload
    leaves: tuple[Any, ...]
    layout: str
    outputs: tuple[TensorLike, ...]
    spec: pytree.TreeSpec

    def __hash__(self) -> int:
        return hash((self.target, self.leaves, self.layout, self.outputs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signature) and (
            (self.target, self.leaves, self.layout, self.outputs)
            == (other.target, other.leaves, other.layout, other.outputs)
        )

    @property
    def tensors(self) -> list[TensorLike]:
        """The tensor arguments in order."""
        return [leaf for leaf in self.leaves if isinstance(leaf, TensorLike)]

    @property
    def numbers(self) -> set[int]:
        """Whole numbers among the arguments, which may be sizes."""
        return {leaf for leaf in self.leaves if isinstance(leaf, int)} - {True, False}

    def run(self, tensors: list[Tensor]) -> list[Tensor] | None:
        """Results on these tensors; None where the operator refuses them."""
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, TensorLike) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        try:
            result = self.target(*args, **kwargs)
        except Exception:  # noqa: BLE001 - a user's operator may raise anything
            return None
        found = [result] if isinstance(result, Tensor) else list(result)
        return found if all(isinstance(one, Tensor) for one in found) else None

    def draw(self, number: int) -> list[Tensor]:
        """Random tensors of the kind ``DRAWS[number]``; the same for the same number."""
        generator = torch.Generator().manual_seed(number)
        return [_random(like, DRAWS[number], generator) for like in self.tensors]


def tensor_nodes(node: fx.Node) -> list[fx.Node]:
    """The tensor arguments of a call in flattening order."""
    leaves = pytree.tree_leaves((node.args, node.kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, fx.Node) and is_tensor(leaf)]


def signature_of(node: fx.Node) -> Signature | str:
    """The signature of a call, or why it may not be tried out."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return "it is no operator of torch"
    if target.name().startswith("aten::_"):
        return "it is private to torch and may not check what it is given"
    schema = target._schema
    aliases = [a.alias_info for a in (*schema.arguments, *schema.returns)]
    if schema.is_mutable or any(alias is not None for alias in aliases):
        return "it shares or overwrites memory"
    for tag, reason in _TAGS.items():
        if tag in target.tags:
            return reason
    flat, spec = pytree.tree_flatten((node.args, node.kwargs))
    try:
        leaves = tuple(_leaf(leaf) for leaf in flat)
        value = node.meta["val"]
        outputs = tuple(_like(v) for v in ([value] if is_tensor(node) else value))
        signature = Signature(target, leaves, str(spec), outputs, spec)
        hash(signature)
    except (TypeError, ValueError, AttributeError) as error:
        return f"its arguments cannot be made up ({error})"
    unfit = {str(t.dtype).removeprefix("torch.") for t in signature.tensors} - _names(_DTYPES)
    if unfit:
        return f"it takes {', '.join(sorted(unfit))}, for which no data can be made up"
    if sum(torch.Size(t.shape).numel() for t in (*signature.tensors, *outputs)) > LARGEST:
        return "its tensors are too large to try it out"
    return signature


def alike(left: Tensor, right: Tensor) -> bool:
    """Whether two results are equal but for rounding; NaN equals NaN."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if torch.equal(left, right):
        return True
    if not (left.is_floating_point() or left.is_complex()):
        return False
    tolerance = 1e-5 if left.dtype in (torch.float32, torch.complex64) else 1e-10
    return torch.allclose(
        left, right, rtol=tolerance, atol=tolerance * _typical(right), equal_nan=True
    )


def _typical(tensor: Tensor) -> float:
    """Median magnitude of some of the finite elements that are not 0."""
    flat = tensor.reshape(-1)
    sizes = flat[:: max(1, flat.numel() // _SAMPLE)].abs()
    sizes = sizes[torch.isfinite(sizes) & (sizes > 0)]
    return float(sizes.median()) if sizes.numel() else 0.0


def _names(dtypes: tuple[torch.dtype, ...]) -> set[str]:
    return {str(dtype).removeprefix("torch.") for dtype in dtypes}


def _leaf(leaf: Any) -> Any:
    if isinstance(leaf, fx.Node) and is_tensor(leaf):
        return TensorLike(shape_of(leaf), leaf.meta["val"].dtype)
    found = concrete(leaf)
    if isinstance(found, fx.Node):
        raise TypeError(f"{leaf.name} is no tensor")
    if isinstance(found, torch.device) and found.type != "cpu":
        raise TypeError(f"device {found}")
    return found


def _like(value: Any) -> TensorLike:
    return TensorLike(tuple(concrete_int(size) for size in value.shape), value.dtype)


def _random(like: TensorLike, kind: str, generator: torch.Generator) -> Tensor:
    if like.dtype is torch.bool:
        return torch.rand(like.shape, generator=generator) < 0.5
    drawn = torch.randn(like.shape, generator=generator, dtype=like.dtype)
    if kind == "wide":
        return drawn * 8
    if kind == "normal" or like.dtype.is_complex:
        return drawn
    return drawn.abs() + 0.1 if kind == "positive" else -drawn.abs() - 0.1
