"""Example inputs: made from shapes that the user gives, and checked against the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from graphprune.errors import DataError, UsageError
from graphprune.io.tensors import describe
from graphprune.io.text import one_line, reason

_SPEC = re.compile(r"(\d+(?:x\d+)*)(?::([a-z]+\d*))?(?:,(-?\d+)\.\.(-?\d+))?")
_DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("float32", "float64", "float16", "bfloat16"),
        *("int8", "int16", "int32", "int64", "uint8", "bool", "complex64"),
    )
}
_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "int": "int64"}
_EXAMPLES = "for example 1x3x224x224, 2x16:int64 or 1x77:int64,0..30522"
_MOST_ELEMENTS = 2**31


def parse_input_shapes(specs: Sequence[str], seed: int = 0) -> list[torch.Tensor]:
    """Make one example tensor for each ``SHAPE[:DTYPE][,LOW..HIGH]``.

    ``SHAPE`` is sizes joined by ``x``, batch first; ``DTYPE`` a torch dtype (default float32);
    ``LOW..HIGH`` the range of an integer input, HIGH excluded (default 0..2, which every
    embedding table has). Floats are standard normal and bools all True. The values depend on
    ``seed`` only. Raises :class:`UsageError` for a spec that does not follow this.
    """
    generator = torch.Generator().manual_seed(seed)
    return [_example(spec.strip(), generator) for spec in specs]


def check_inputs_fit(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    expected: tuple[Any, ...] | None = None,
    batch_dim: int | None = 0,
) -> Any:
    """Run ``model`` on the inputs, in eval mode without gradients, and return its output.

    ``expected`` holds inputs known to fit (nested as ``(args, kwargs)`` is); number, dtypes and
    shapes, ``batch_dim`` apart, are compared with it first. The model's mode is put back.
    Raises :class:`DataError` saying what was expected and what was given.
    """
    kwargs = kwargs or {}
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if expected is not None:
        wanted = [leaf for leaf in tree_leaves(expected) if isinstance(leaf, torch.Tensor)]
        _compare(given, wanted, batch_dim)
    check_finite(given, "the inputs")
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            return model(*args, **kwargs)
    except Exception as exc:  # a foreign model may raise anything on inputs it was not made for
        shapes = ", ".join(map(describe, given)) or "no tensors"
        raise DataError(
            f"the model does not run on the inputs given ({shapes}): {reason(exc)}"
        ) from exc
    finally:
        for module, mode in modes:
            module.training = mode


def check_finite(tensors: Sequence[torch.Tensor], what: str) -> None:
    """Raise :class:`DataError` if a floating tensor holds NaN or infinity; ``what`` names them."""
    for index, tensor in enumerate(tensors):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise DataError(
                f"{what} hold {count} values that are NaN or infinite (tensor {index}, "
                f"{describe(tensor)}); clean the data first"
            )


def _example(spec: str, generator: torch.Generator) -> torch.Tensor:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UsageError(f"input shape {one_line(spec)!r}: expected SHAPE[:DTYPE], {_EXAMPLES}")
    sizes = [int(size) for size in match[1].split("x")]
    elements = 1
    for size in sizes:
        elements *= size
    if not 0 < elements < _MOST_ELEMENTS:
        problem = "a size of 0" if elements == 0 else "more elements than 2^31"
        raise UsageError(f"input shape {one_line(spec)!r}: {problem}; expected {_EXAMPLES}")
    name = match[2] or "float32"
    dtype = _DTYPES.get(_ALIASES.get(name, name))
    if dtype is None:
        raise UsageError(f"input shape {spec!r}: no dtype {name!r}; one of {', '.join(_DTYPES)}")
    integer = not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)
    if match[3] is not None and not integer:
        raise UsageError(f"input shape {spec!r}: a range is for integers, not for {name}")
    if dtype == torch.bool:
        return torch.ones(sizes, dtype=dtype)
    if not integer:
        return torch.randn(sizes, generator=generator).to(dtype)
    low, high = (int(match[3]), int(match[4])) if match[3] is not None else (0, 2)
    limits = torch.iinfo(dtype)
    if not limits.min <= low < high <= limits.max + 1 or high > torch.iinfo(torch.int64).max:
        raise UsageError(f"input shape {spec!r}: {low}..{high} is no range of {name}, low..high")
    return torch.randint(low, high, sizes, dtype=dtype, generator=generator)


def _compare(given: list[torch.Tensor], wanted: list[torch.Tensor], batch_dim: int | None) -> None:
    if len(given) != len(wanted):
        raise DataError(f"the model takes {len(wanted)} input tensors, but {len(given)} are given")
    for index, (have, want) in enumerate(zip(given, wanted, strict=True)):
        same = have.ndim == want.ndim and all(
            dim == batch_dim or have.shape[dim] == want.shape[dim] for dim in range(want.ndim)
        )
        if not same or have.dtype != want.dtype:
            raise DataError(
                f"input {index}: expected {_pattern(want, batch_dim)}, got {describe(have)}; "
                "reshape or convert the data"
            )


def _pattern(tensor: torch.Tensor, batch_dim: int | None) -> str:
    sizes = ["N" if dim == batch_dim else str(size) for dim, size in enumerate(tensor.shape)]
    return "x".join(sizes) + ":" + str(tensor.dtype).removeprefix("torch.")
