"""New inputs like the examples: other values, other batch sizes, still valid for the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import torch

from graphprune.capturing.capture import Captured
from graphprune.graph.trees import Inputs, replace_tensors, tensor_leaves


def batch_size(captured: Captured) -> int | None:
    """Batch size of the examples; None where the batch is static or inputs disagree on it."""
    leaves = tensor_leaves((captured.args, captured.kwargs))
    pairs = zip(leaves, captured.batch_dims, strict=True)
    sizes = {leaf.shape[dim] for leaf, dim in pairs if dim is not None}
    return sizes.pop() if len(sizes) == 1 else None


def fixed_batch(captured: Captured) -> Captured:
    """The same model, to be called with batches of the examples' size only."""
    return dataclasses.replace(captured, batch_dims=(None,) * len(captured.batch_dims))


def with_batch(captured: Captured, size: int) -> Inputs:
    """The examples cut or repeated to a batch of ``size``; unchanged if the batch is static."""
    now = batch_size(captured)
    leaves = tensor_leaves((captured.args, captured.kwargs))
    if now is None or now == size:
        return captured.args, dict(captured.kwargs)
    rows = torch.arange(size) % now
    resized = [
        leaf if dim is None else leaf.index_select(dim, rows.to(leaf.device))
        for leaf, dim in zip(leaves, captured.batch_dims, strict=True)
    ]
    args, kwargs = replace_tensors((captured.args, captured.kwargs), resized)
    return args, kwargs


def fresh_inputs(
    captured: Captured, seed: int, size: int | None = None, *, permuted: Collection[int] = ()
) -> Inputs:
    """Random inputs like the examples, of batch ``size`` (None: that of the examples).

    Floats are normal with the mean and standard deviation of the example and stay within its
    range (to a constant example a standard normal is added); integers are uniform over the
    example's range; masks (bools, integers all 0 or 1) only change places along the batch, so
    that no mask arises that hides everything.

    Args:
        captured: tells the examples.
        seed: of the values.
        size: of the batch; None: that of the examples.
        permuted: positions among the tensors of those whose integers are not drawn, but change
            places along the batch like masks; of floats, what is a whole number in every example.

    Returns:
        ``(args, kwargs)`` with the examples' dtypes and devices; the same for the same seed.
    """
    generator = torch.Generator().manual_seed(seed)
    args, kwargs = (
        with_batch(captured, size) if size is not None else (captured.args, captured.kwargs)
    )
    leaves = tensor_leaves((args, kwargs))
    drawn = [
        _draw(leaf, dim, generator, place in permuted).to(leaf.device)
        for place, (leaf, dim) in enumerate(zip(leaves, captured.batch_dims, strict=True))
    ]
    args, kwargs = replace_tensors((args, kwargs), drawn)
    return args, kwargs


def _draw(
    example: torch.Tensor, dim: int | None, generator: torch.Generator, permuted: bool
) -> torch.Tensor:
    value = example.detach().cpu()
    if value.numel() == 0:
        return value.clone()
    if value.is_complex():
        parts = torch.view_as_real(value.resolve_conj())
        return torch.view_as_complex(_draw(parts, dim, generator, permuted).contiguous())
    if value.is_floating_point():
        wide = value.to(torch.float64)
        noise = torch.randn(wide.shape, generator=generator, dtype=torch.float64)
        low, high = wide.min(), wide.max()
        alike = bool(low == high)  # the spread of a single number is none
        drawn = wide + noise if alike else (wide.mean() + wide.std() * noise).clamp(low, high)
        if permuted:
            drawn = torch.where(_whole(wide, dim), _moved(wide, dim, generator), drawn)
        return drawn.to(value.dtype)
    low_int, high_int = int(value.min()), int(value.max())
    if permuted or (low_int >= 0 and high_int <= 1):
        return _moved(value, dim, generator)
    integers = torch.randint(low_int, high_int + 1, value.shape, generator=generator)
    return integers.to(value.dtype)


def _moved(value: torch.Tensor, dim: int | None, generator: torch.Generator) -> torch.Tensor:
    """The value with its examples in another order."""
    if dim is None:
        return value.clone()
    return value.index_select(dim, torch.randperm(value.shape[dim], generator=generator))


def _whole(value: torch.Tensor, dim: int | None) -> torch.Tensor:
    """Where a tensor holds whole numbers, in all examples alike."""
    whole = value == value.round()
    return whole if dim is None else whole.all(dim, keepdim=True)


def places_of_codes(captured: Captured) -> set[int]:
    """Positions, among the tensors given, of floats that hold whole numbers somewhere."""
    leaves = tensor_leaves((captured.args, captured.kwargs))
    return {
        place
        for place, (leaf, dim) in enumerate(zip(leaves, captured.batch_dims, strict=True))
        if leaf.dtype.is_floating_point and leaf.numel() > 0 and _whole(leaf.detach(), dim).any()
    }
