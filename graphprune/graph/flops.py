"""Counting floating-point operations: torch's counter, and the operators that it does not know.

Its formulas are those of ``torch.utils.flop_counter``; what is registered there with
``register_flop_formula``, for an operator of one's own, counts here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, flop_registry

aten = torch.ops.aten
Size = Sequence[int]
_FORMULAS: dict[Any, Callable[..., int]] = {}


def counts_as(*packets: Any) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Decorator: the function gives the operations of these operators, from the sizes of tensors.

    It is called like the operator, with sizes in place of tensors, and with ``out_shape``. Torch's
    own formula is used where it has one.
    """

    def register(formula: Callable[..., int]) -> Callable[..., int]:
        _FORMULAS.update({packet: formula for packet in packets if packet not in flop_registry})
        return formula

    return register


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Count what runs inside, two operations for a multiply-accumulate.

    Counted are convolutions, matrix products, attention and recurrent layers.
    """
    counter = flop_counter()
    with products_of_attention(), counter:
        yield counter


def flop_counter() -> FlopCounterMode:
    """The counter alone; of attention it counts what runs in :func:`products_of_attention`."""
    return FlopCounterMode(display=False, custom_mapping=_FORMULAS)


def products_of_attention() -> AbstractContextManager[None]:
    """Attention written out inside: no fused kernel of the CPU is known, but its products are."""
    return sdpa_kernel(SDPBackend.MATH)


@counts_as(aten.mkldnn_rnn_layer)
def _recurrent_layer(x: Size, *given: Any, out_shape: Any = None) -> int:
    """input, weight0 ... weight3: one layer in one direction, its matrices and its biases."""
    del out_shape
    return _steps_times_matrices(x, given[:4])


@counts_as(aten._cudnn_rnn)
def _recurrent_layers(x: Size, weights: Sequence[Size], *_: Any, out_shape: Any = None) -> int:
    """input, weights: all layers and directions."""
    del out_shape
    return _steps_times_matrices(x, weights)


def _steps_times_matrices(x: Size, weights: Sequence[Size]) -> int:
    steps = math.prod(x) // x[-1]
    return 2 * steps * sum(math.prod(size) for size in weights if len(size) == 2)


@counts_as(aten._grouped_mm)
def grouped_rows(x: Size, weights: Size, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """x (S, I), weights (E, I, O): every row times the matrix of one expert."""
    del out_shape
    return 2 * math.prod(x) * weights[-1]
