"""Comparing outputs so that a wrong model cannot pass: what the certificate rests on."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from graphprune.errors import CertificateError
from graphprune.graph.trees import tensor_leaves, to_plain
from graphprune.proof.fills import fills, largest_ordinary

LIMITS = {
    torch.float64: 1e-6,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""Largest relative error that passes, by the least precise floating dtype that takes part.

Each is a few hundred times (float32, float64: far more) the rounding unit, to leave room for sums
in another order.
"""

FLOOR = 1e-9
"""Share of a tensor's largest value below which a slice of it is taken for zero."""

_SHARP, _BLUNT = 10, 0.01
_DEEPEST = 6


def limit_for(tensors: Collection[torch.Tensor]) -> float:
    """The limit of :data:`LIMITS` for these tensors; float32's where none of them is floating."""
    found = [LIMITS[t.dtype] for t in tensors if t.dtype in LIMITS]
    return max(found, default=LIMITS[torch.float32])


def max_relative_error(actual: Any, reference: Any, *, in_slices: bool = False) -> float:
    """Largest relative error over all tensors of two pytrees of the same structure.

    For a floating or complex tensor the error is ``max|a - b| / max|b|`` (infinite where b is zero
    and a is not); integers, bools and leaves that are no tensors must be exactly equal, otherwise
    the error is infinite. Fills (:mod:`graphprune.proof.fills`) are compared with themselves, so
    that the others are measured by the largest of the others; infinite ones must be equal.

    Args:
        actual: pytree of tensors.
        reference: the other.
        in_slices: also of every slice along every dimension by itself, so that a part of small
            numbers (probabilities beside coordinates) counts as much as one of large numbers. A
            slice of less than :data:`FLOOR` of the tensor's largest value counts as that much.

    Raises:
        CertificateError: the structures, shapes or dtypes differ, a value is NaN, or infinite in
            one alone, or there is no tensor at all, so that nothing would be compared.
    """
    return max_error_of_calls([actual], [reference], in_slices=in_slices)


def max_error_of_calls(
    actual: Sequence[Any], reference: Sequence[Any], *, in_slices: bool = False
) -> float:
    """:func:`max_relative_error` of several calls, whose fills are told by all of them together."""
    largest = _largest_ordinary(reference)
    found = []
    for one, other in zip(actual, reference, strict=True):
        pairs = _pairs(one, other)
        if not any(isinstance(expected, torch.Tensor) for _, _, expected in pairs):
            raise CertificateError("the outputs hold no tensor, so there is nothing to compare")
        found += [_error(name, a, b, largest.get(name), in_slices) for name, a, b in pairs]
    return max(found)


def prove_equal(
    actual: list[Any],
    expected: list[Any],
    limit: float,
    *,
    independent: Collection[int] = (),
    in_slices: bool = False,
) -> float:
    """The largest relative error over several calls, if that proves two models equal.

    It does if the error is within ``limit`` and every output varies with the input by more than
    ten times the error (and more than a hundredth of the limit, so that rounding is not all there
    is to compare): a model that ignored its inputs would be off by as much as the outputs vary.

    Args:
        actual: pytrees, the outputs of one model for each input.
        expected: those of the other for the same inputs, which are of the same shapes.
        limit: largest relative error that passes.
        independent: see :func:`require_informative`.
        in_slices: see :func:`max_relative_error`.

    Raises:
        CertificateError: it does not; the message says why.
    """
    error = max_error_of_calls(actual, expected, in_slices=in_slices)
    if not error <= limit:
        # An output that does not vary is the plainer reason where both hold.
        require_informative(expected, _BLUNT * limit, independent=independent)
        raise CertificateError(f"relative error {error:.3g} exceeds the limit {limit:g}")
    resolution = max(_SHARP * error, _BLUNT * limit)
    require_informative(expected, resolution, independent=independent)
    return error


def require_informative(
    outputs: list[Any], limit: float, *, independent: Collection[int] = ()
) -> None:
    """Refuse outputs that vary by no more than ``limit`` when the inputs do.

    A model that ignored its inputs could pass a comparison with such outputs. Each floating
    tensor must vary where it holds no fills, which may move with a mask that is an input; if there
    is none, at least one other tensor.

    Args:
        outputs: pytrees, from calls on different inputs of the same shapes. Where the sizes of an
            output depend on the input (points found), what all of the sizes hold is compared.
        limit: a relative change.
        independent: positions of leaves known not to depend on the inputs; they may be constant.

    Raises:
        CertificateError: fewer than two outputs of the same structure, or one does not vary.
    """
    alike = [both for other in outputs[1:] if (both := _common(outputs[0], other)) is not None]
    if not alike:
        raise CertificateError(
            "the check needs the outputs of two different inputs of the same shapes, "
            "or an output that does not depend on the input would pass it"
        )
    largest = _largest_ordinary(outputs)
    names, leaves = _leaves(outputs[0])
    varies = [
        any(_varies(one[i], other[i], largest.get(name), limit) for one, other in alike)
        for i, name in enumerate(names)
    ]
    tensors = [
        i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor) and i not in independent
    ]
    floating = [i for i in tensors if leaves[i].is_floating_point() or leaves[i].is_complex()]
    if floating:
        still = [i for i in floating if not varies[i]]
    else:
        still = [] if any(varies[i] for i in tensors) else tensors
        if not tensors:
            raise CertificateError("no output depends on the inputs, so there is nothing to prove")
    if still:
        raise CertificateError(
            f"{names[still[0]]} does not vary with the input (by more than {limit:.1g}), so "
            "comparing it proves nothing; use other example inputs, or weights that are not zero"
        )


def _leaves(tree: Any) -> tuple[list[str], list[Any]]:
    found, _ = pytree.tree_flatten_with_path(_opened(to_plain(tree)))
    return [f"output{pytree.keystr(path)}" for path, _ in found], [leaf for _, leaf in found]


def _opened(tree: Any, depth: int = 0) -> Any:
    """The tree with its foreign objects that hold tensors (boxes, caches) as dicts of them."""

    def opened(leaf: Any) -> Any:
        held = getattr(leaf, "__dict__", None)
        if isinstance(leaf, torch.Tensor) or not held or depth > _DEEPEST:
            return leaf
        inside = _opened(to_plain(dict(held)), depth + 1)
        tensors = {k: v for k, v in inside.items() if tensor_leaves(v)}
        return {type(leaf).__name__: tensors} if tensors else leaf

    return pytree.tree_map(opened, tree)


def _pairs(actual: Any, reference: Any) -> list[tuple[str, Any, Any]]:
    names, got = _leaves(actual)
    expected_names, expected = _leaves(reference)
    if names != expected_names:
        odd = sorted(set(names) ^ set(expected_names)) or names
        raise CertificateError(f"the outputs are structured differently, as {odd[0]} shows")
    for name, a, b in zip(names, got, expected, strict=True):
        if isinstance(a, torch.Tensor) != isinstance(b, torch.Tensor):
            raise CertificateError(f"{name} is a {type(a).__name__}, not a {type(b).__name__}")
        if isinstance(a, torch.Tensor) and (a.shape != b.shape or a.dtype != b.dtype):
            raise CertificateError(
                f"{name} is {_describe(a)}, but the reference gives {_describe(b)}"
            )
    return list(zip(names, got, expected, strict=True))


def _largest_ordinary(outputs: Sequence[Any]) -> Mapping[str, float]:
    """What :func:`graphprune.proof.fills.largest_ordinary` finds, by the name of the output."""
    found: dict[str, list[torch.Tensor]] = {}
    for tree in outputs:
        for name, leaf in zip(*_leaves(tree), strict=True):
            if _is_measured(leaf):
                found.setdefault(name, []).append(leaf)
    return {name: largest_ordinary(tensors) for name, tensors in found.items()}


def _is_measured(leaf: Any) -> bool:
    """Whether it may differ by rounding; all else must be equal."""
    return isinstance(leaf, torch.Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _error(
    name: str, actual: Any, expected: Any, largest: float | None, in_slices: bool = False
) -> float:
    if not isinstance(actual, torch.Tensor):
        return 0.0 if actual == expected else float("inf")
    if not _is_measured(actual):
        return 0.0 if torch.equal(actual.cpu(), expected.cpu()) else float("inf")
    a, b = _wide(actual), _wide(expected)
    _require_comparable(name, a, b)
    filled = fills(b, math.inf if largest is None else largest)
    huge = filled & b.isfinite()
    gaps, sizes = (a - b).abs(), b.abs()
    found = [float((gaps[huge] / sizes[huge]).max())] if bool(huge.any()) else [0.0]
    gaps, sizes = gaps.masked_fill(filled, 0), sizes.masked_fill(filled, 0)
    found.append(_error_of_rest(gaps, sizes))
    if in_slices and a.ndim > 1:
        found += _errors_in_slices(gaps, sizes)
    return max(found)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().to(torch.complex128 if tensor.is_complex() else torch.float64)


def _require_comparable(name: str, actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Infinities may be meant (``masked_fill(mask, -inf)``), but then both models mean them."""
    for values, whose in ((actual, "the model's"), (expected, "the reference's")):
        if bool(values.isnan().any()):
            raise CertificateError(f"{name}: {whose} values hold NaN")
    infinite = actual.isinf() | expected.isinf()
    if not torch.equal(actual[infinite], expected[infinite]):
        raise CertificateError(f"{name}: values are infinite in one of the two models alone")


def _error_of_rest(gaps: torch.Tensor, sizes: torch.Tensor) -> float:
    difference = float(gaps.max()) if gaps.numel() else 0.0
    if difference == 0:
        return 0.0
    scale = float(sizes.max())
    return difference / scale if scale else float("inf")


def _errors_in_slices(gaps: torch.Tensor, sizes: torch.Tensor) -> list[float]:
    """The largest error of the slices along each dimension."""
    if not gaps.numel() or not bool(gaps.any()) or not bool(sizes.any()):
        return []
    found = []
    for dim in range(gaps.ndim):
        others = [d for d in range(gaps.ndim) if d != dim]
        scales = sizes.amax(others).clamp_min(FLOOR * float(sizes.max()))
        found.append(float((gaps.amax(others) / scales).max()))
    return found


def _varies(first: Any, second: Any, largest: float | None, limit: float) -> bool:
    """Whether two answers differ by more than ``limit``, where neither holds a fill."""
    if not _is_measured(first):
        return _error("", first, second, None) > limit
    one, other = _wide(first), _wide(second)
    bound = math.inf if largest is None else largest
    seen = ~(fills(one, bound) | fills(other, bound))
    return _error_of_rest((one[seen] - other[seen]).abs(), other[seen].abs()) > limit


def _common(first: Any, second: Any) -> tuple[list[Any], list[Any]] | None:
    """The leaves of two outputs, tensors cut to the sizes that both have; None: unlike ranks."""
    ranks = [
        [leaf.ndim if isinstance(leaf, torch.Tensor) else None for leaf in _leaves(tree)[1]]
        for tree in (first, second)
    ]
    if ranks[0] != ranks[1]:
        return None
    return _cut_to(first, second), _cut_to(second, first)


def _cut_to(tree: Any, other: Any) -> list[Any]:
    """Leaves of a pytree, its tensors no larger than those of ``other``."""
    return [
        leaf[tuple(slice(size) for size in like.shape)] if isinstance(leaf, torch.Tensor) else leaf
        for leaf, like in zip(_leaves(tree)[1], _leaves(other)[1], strict=True)
    ]


def _describe(tensor: torch.Tensor) -> str:
    sizes = "x".join(map(str, tensor.shape)) or "scalar"
    return f"{sizes}:{str(tensor.dtype).removeprefix('torch.')}"
