"""Batch norm statistics of a shrunk model, measured anew."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import fx

from graphprune.errors import DataError
from graphprune.graph.schema import get_argument, has_argument, set_argument
from graphprune.passes.set_mode import SetMode
from graphprune.training.devices import Batch, Runtime, moved, run_module


def recalibrate_batchnorm(module: fx.GraphModule, data: Iterable[Batch], batches: int = 32) -> int:
    """Re-estimate running means and variances as plain averages over batches, in place.

    Only normalisation with running statistics runs in training mode meanwhile; dropout stays off.
    A normalisation that the graph calls several times takes the statistics of its last call.

    Args:
        module: graph of ATen calls; it stays in evaluation mode.
        data: batches ``(inputs, target)``; targets are not used.
        batches: how many to use at most.

    Returns:
        Number of batches used; 0 where the module keeps no running statistics.

    Raises:
        DataError: there is no data.
    """
    norms = [n for n in module.graph.nodes if _statistics(n)]
    if not norms:
        return 0
    momenta = [get_argument(node, "momentum") for node in norms]
    names = sorted({str(buffer.target) for node in norms for buffer in _statistics(node)})
    runtime = Runtime(mixed_precision=False)
    module.eval()
    with moved(runtime.device, module):
        try:
            SetMode(training=True, statistics_only=True)(module)
            _set_momenta(module, norms, [1.0] * len(norms))
            return _average(module, names, islice(data, batches), runtime)
        finally:
            _set_momenta(module, norms, momenta)
            SetMode(training=False, statistics_only=True)(module)


def _average(
    module: fx.GraphModule, names: list[str], data: Iterable[Batch], runtime: Runtime
) -> int:
    """Run the batches (momentum 1: each leaves its own statistics) and average what they leave."""
    buffers = {name: module.get_buffer(name) for name in names}
    sums = {name: torch.zeros_like(buffer) for name, buffer in buffers.items()}
    used = 0
    with torch.no_grad():
        for inputs, _ in runtime.batches(data):
            run_module(module, inputs)
            for name, buffer in buffers.items():
                sums[name] += buffer
            used += 1
        if used == 0:
            raise DataError("there is no data to measure batch norm statistics on")
        for name, buffer in buffers.items():
            buffer.copy_(sums[name] / used)
    runtime.average_buffers(module)
    return used


def _statistics(node: fx.Node) -> list[fx.Node]:
    """The buffers in which this call keeps running statistics."""
    if not (has_argument(node, "running_mean") and has_argument(node, "momentum")):
        return []
    values = [get_argument(node, name) for name in ("running_mean", "running_var")]
    return [v for v in values if isinstance(v, fx.Node) and v.op == "get_attr"]


def _set_momenta(module: fx.GraphModule, norms: list[fx.Node], momenta: list[float]) -> None:
    for node, momentum in zip(norms, momenta, strict=True):
        set_argument(node, "momentum", momentum)
    module.recompile()
