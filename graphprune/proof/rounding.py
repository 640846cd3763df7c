"""Models that magnify rounding: compared in float64, and how far from it they are by themselves.

Refinements that feed on themselves (optical flow, equilibrium models) can make of the last bit of a
float32 more than any fixed limit allows, so that even equal models differ; where values are rounded
to steps (quantisation), the last bit decides on a step. Float64 tells the rewrite from rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.errors import CertificateError
from graphprune.proof.answers import answers
from graphprune.proof.check_inputs import check_inputs
from graphprune.proof.compare import LIMITS, max_error_of_calls
from graphprune.quiet import quiet_libraries

Found = TypeVar("Found")
WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}
SLACK = 10
"""A limit in units of the model's own rounding: two ways of summing differ by some of it."""

_WIDEST = LIMITS[torch.bfloat16]


@contextmanager
def in_double() -> Iterator[None]:
    """While open, what torch would compute in less than float64 is computed in float64."""
    # The recurrent kernels of oneDNN know no float64, and torch warns of how it is switched off.
    with quiet_libraries(), torch.backends.mkldnn.flags(enabled=False), _Double():
        yield


class _Double(TorchFunctionMode):
    """Widens the operands of each call, and the dtypes that it names.

    Above the dispatcher, for many operators compare the dtypes of their operands before they get
    there. A tensor from outside, such as a weight, is widened once, so that what is written into it
    is read again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wide: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        wide, named = pytree.tree_map(self._widened, (args, kwargs or {}))
        try:
            return func(*wide, **named)
        except RuntimeError:
            # Fake quantisation takes its scales in float32 alone, whatever it rounds.
            return func(*wide[:1], *args[1:], **named)

    def _widened(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return WIDE.get(value, value)
        if not isinstance(value, torch.Tensor) or value.dtype not in WIDE:
            return value
        if id(value) not in self._wide:
            self._wide[id(value)] = value, value.to(WIDE[value.dtype])  # keeps the id taken
        return self._wide[id(value)][1]


def own_rounding(captured: Captured, seed: int = 0) -> float | None:
    """Largest relative error of a model's outputs against those that it has in float64.

    None where it cannot be run in float64.
    """
    inputs = check_inputs(captured, seed)
    try:
        narrow = answers(captured.module, inputs)
        wide = answers(captured.module, inputs, within=in_double)
        like = [_like(b, a) for a, b in zip(narrow, wide, strict=True)]
        return max_error_of_calls(narrow, like)
    except Exception:  # noqa: BLE001 - whatever an operator has against float64
        return None


def within_rounding(
    captured: Captured, limit: float, check: Callable[[float], Found], *, seed: int = 0
) -> tuple[float, Found]:
    """What ``check`` finds, and the limit that it passed: wider if the model magnifies rounding.

    Args:
        captured: the model that is checked.
        limit: of the relative error, tried first.
        check: called with a limit.
        seed: of the inputs that the model's own rounding is measured on.

    Raises:
        CertificateError: of the first try; the check fails, and not by the model's own rounding.
    """
    try:
        return limit, check(limit)
    except CertificateError:
        wider = min(SLACK * (own_rounding(captured, seed) or 0.0), _WIDEST)
        if wider <= limit:
            raise
    return wider, check(wider)


def _like(wide: Any, narrow: Any) -> Any:
    """The leaves of ``wide`` in the dtypes of ``narrow``."""
    return pytree.tree_map(
        lambda a, b: a.to(b.dtype) if isinstance(a, torch.Tensor) else a, wide, narrow
    )
