"""Results that need no shape function, while a model is captured.

torch.export runs every call on fake tensors. Those of element-wise calls and of batch norm have
shape functions written in Python; with a free batch each takes milliseconds, more than half of a
capture, only to say that the result looks like an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from graphprune.rules.pointwise import is_pointwise

_BATCH_NORM = torch.ops.aten._native_batch_norm_legit_no_training.default

Sizes = tuple[Any, ...]


class ForetellResults(TorchDispatchMode):
    """While a model is traced, make results that look like the first argument without asking how.

    The first call of each operator with each combination of dtypes and numbers is run as ever, and
    tells the dtype of the result. A later one is foretold where all tensors are dense, on one
    device, and the others have the shape of the first or are broadcast to it (in batch norm: hold
    one number for each channel). What is traced is the same: only fake values are made here.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dtypes: dict[Any, list[torch.dtype] | None] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Foretell, or pass the call on."""
        if kwargs or not _fits(func, args):
            return func(*args, **(kwargs or {}))
        if func._schema.is_mutable:
            return args[0]
        key = (func, *(_described(argument) for argument in args))
        if key not in self._dtypes:
            result = func(*args)
            self._dtypes[key] = _dtypes(args[0], result)
            return result
        dtypes = self._dtypes[key]
        if dtypes is None:
            return func(*args)
        made = torch.empty_like(args[0], dtype=dtypes[0])
        rest = [made.new_empty(0, dtype=dtype) for dtype in dtypes[1:]]
        return (made, *rest) if func is _BATCH_NORM else made


def _fits(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the result surely has the shape and the layout of the first argument."""
    if not (func is _BATCH_NORM or is_pointwise(func)) or not args or not _is_plain(args[0]):
        return False
    if func._schema.is_mutable and not _writes_to_first(func):
        return False
    first, sizes = args[0], _sizes(args[0])
    dense = first.is_contiguous() or func._schema.is_mutable
    if sizes is None or not dense or not sizes:
        return False
    wanted = sizes[1:2] if func is _BATCH_NORM else sizes
    for other in args[1:]:
        if isinstance(other, torch.Tensor):
            same = _is_plain(other) and other.fake_device == first.fake_device
            if not same or other.dtype != first.dtype or not other.is_contiguous():
                return False
            if not _broadcast(_sizes(other), wanted, strictly=func is _BATCH_NORM):
                return False
        elif not isinstance(other, int | float | str | None):
            return False
    return True


def _writes_to_first(func: Any) -> bool:
    """Whether a call writes into its first argument alone and returns it."""
    first, *others = func._schema.arguments
    return bool(first.is_write) and not any(other.is_write for other in others)


def _is_plain(tensor: Any) -> TypeGuard[FakeTensor]:
    """Whether it is a fake tensor of floats, with nothing known of its values."""
    return (
        isinstance(tensor, FakeTensor)
        and tensor.constant is None
        and tensor.dtype.is_floating_point
    )


def _sizes(tensor: torch.Tensor) -> Sizes | None:
    """Sizes, symbolic ones as expressions; None where the data decide one."""
    found = tuple(_named(tensor))
    return None if None in found else found


def _named(tensor: torch.Tensor) -> Iterator[Any]:
    for size in tensor.shape:
        if isinstance(size, torch.SymInt):
            yield None if size.node.hint is None else size.node.expr
        else:
            yield size


def _broadcast(sizes: Sizes | None, wanted: Sizes, *, strictly: bool) -> bool:
    if sizes is None or len(sizes) != len(wanted):
        return False
    return all(a == b or (a == 1 and not strictly) for a, b in zip(sizes, wanted, strict=True))


def _described(argument: Any) -> Any:
    if isinstance(argument, FakeTensor):
        return argument.dtype, argument.fake_device
    return type(argument), argument


def _dtypes(first: torch.Tensor, result: Any) -> list[torch.dtype] | None:
    """Dtypes of the results, the first of which looks like ``first``; the others are empty."""
    results = list(result) if isinstance(result, tuple) else [result]
    alike = isinstance(results[0], FakeTensor) and _sizes(results[0]) == _sizes(first)
    if not alike or any(tuple(other.shape) != (0,) for other in results[1:]):
        return None
    return [one.dtype for one in results]
