"""Comparing outputs so that a wrong model cannot pass: what the certificate rests on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch.utils import _pytree as pytree

from graphprune.errors import CertificateError
from graphprune.graph.trees import tensor_leaves, to_plain

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
    the error is infinite.

    Args:
        actual: pytree of tensors.
        reference: the other.
        in_slices: also of every slice along every dimension by itself, so that a part of small
            numbers (probabilities beside coordinates) counts as much as one of large numbers. A
            slice of less than :data:`FLOOR` of the tensor's largest value counts as that much.

    Raises:
        CertificateError: the structures, shapes or dtypes differ, a value is NaN or infinite, or
            there is no tensor at all, so that nothing would be compared.
    """
    pairs = _pairs(actual, reference)
    if not any(isinstance(expected, torch.Tensor) for _, _, expected in pairs):
        raise CertificateError("the outputs hold no tensor, so there is nothing to compare")
    return max(_error(name, a, b, in_slices=in_slices) for name, a, b in pairs)


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
    pairs = zip(actual, expected, strict=True)
    error = max(max_relative_error(a, b, in_slices=in_slices) for a, b in pairs)
    if not error <= limit:
        # An output that does not vary is the plainer reason where both hold.
        require_informative(expected, _BLUNT * limit, independent=independent)
        raise CertificateError(f"relative error {error:.3g} exceeds the limit {limit:g}")
    resolution = max(_SHARP * error, _BLUNT * limit)
    require_informative(expected, resolution, independent=independent)
    return error


def varying_outputs(first: Any, second: Any, limit: float = 0.0) -> list[bool]:
    """For each leaf of two pytrees, whether it differs by a relative error above ``limit``.

    Raises:
        CertificateError: as :func:`max_relative_error`.
    """
    return [_error(name, a, b) > limit for name, a, b in _pairs(first, second)]


def require_informative(
    outputs: list[Any], limit: float, *, independent: Collection[int] = ()
) -> None:
    """Refuse outputs that vary by no more than ``limit`` when the inputs do.

    A model that ignored its inputs could pass a comparison with such outputs. Each floating
    tensor must vary; if there is none, at least one other tensor.

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
    varies = [any(v) for v in zip(*(varying_outputs(*both, limit) for both in alike))]  # noqa: B905
    names, leaves = _leaves(outputs[0])
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


def _error(name: str, actual: Any, expected: Any, *, in_slices: bool = False) -> float:
    if not isinstance(actual, torch.Tensor):
        return 0.0 if actual == expected else float("inf")
    if not (actual.is_floating_point() or actual.is_complex()):
        return 0.0 if torch.equal(actual.cpu(), expected.cpu()) else float("inf")
    wide = torch.complex128 if actual.is_complex() else torch.float64
    a, b = actual.detach().cpu().to(wide), expected.detach().cpu().to(wide)
    for values, whose in ((a, "the model's"), (b, "the reference's")):
        if not bool(torch.isfinite(values).all()):
            raise CertificateError(f"{name}: {whose} values hold NaN or infinity")
    if a.numel() == 0:
        return 0.0
    gaps, sizes = (a - b).abs(), b.abs()
    difference, scale = float(gaps.max()), float(sizes.max())
    if difference == 0:
        return 0.0
    if scale == 0:
        return float("inf")
    found = [difference / scale]
    if in_slices and a.ndim > 1:
        for dim in range(a.ndim):
            others = [d for d in range(a.ndim) if d != dim]
            scales = sizes.amax(others).clamp_min(FLOOR * scale)
            found.append(float((gaps.amax(others) / scales).max()))
    return max(found)


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
