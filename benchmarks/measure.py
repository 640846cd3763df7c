"""Size of a model as the tables give it: parameters, MACs, widths."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Number of trainable values; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def macs(model: nn.Module, example: torch.Tensor) -> int:
    """Multiply-accumulates of one example (dim 0 of ``example`` is the batch).

    Half of what ``torch.utils.flop_counter`` counts: convolutions and matrix products, as in the
    tables of the pruning literature, where this figure is often called FLOPs.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        model(example)
    total, rest = divmod(counter.get_total_flops(), 2 * len(example))
    if rest:
        raise ValueError(f"{counter.get_total_flops()} operations do not divide by the batch")
    return int(total)


def widths(model: nn.Module) -> list[int]:
    """Output channels of every weight matrix or kernel but the last, in order of definition."""
    sizes = [parameter.shape[0] for parameter in model.parameters() if parameter.ndim >= 2]
    return sizes[:-1]


def milliseconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)
