"""Measuring a model: parameters, MACs and latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.errors import ModelError
from graphprune.graph.flops import counted_flops
from graphprune.graph.state import state_kept
from graphprune.graph.trees import Inputs, copy_of, tensor_leaves
from graphprune.io.text import reason
from graphprune.passes.drop_unread import unread_parameters
from graphprune.proof.fresh_inputs import batch_size, with_batch
from graphprune.quiet import quiet_libraries


@dataclass(frozen=True)
class Latency:
    """Time of one call.

    Attributes:
        median_ms: median over the repeats, milliseconds.
        low_ms, high_ms: first and third quartile, milliseconds.
        repeats: how many calls were timed.
        batch: batch size of each call; 0 if the inputs have none.
        threads: threads within an operator.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    batch: int
    threads: int


def count_parameters(module: nn.Module) -> int:
    """Number of values in the parameters; one under several names counts once.

    Of a graph those that it reads: evaluation has no use for the others, which a budget is not for.
    """
    held = sum(parameter.numel() for parameter in module.parameters())
    return held - (count_unread(module) if isinstance(module, fx.GraphModule) else 0)


def count_unread(graph_module: fx.GraphModule) -> int:
    """Number of values in the parameters that a graph does not read."""
    unread = set(unread_parameters(graph_module))
    named = graph_module.named_parameters()
    return sum(parameter.numel() for name, parameter in named if name in unread)


def count_macs(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> int:
    """Multiply-accumulates of one call, see :mod:`graphprune.graph.flops`: half the operations.

    The call runs on fake tensors, without computing anything; on real ones where values decide
    (``istft`` looks at its window).

    Raises:
        ModelError: the model does not run on these inputs.
    """
    inputs = (tuple(args), dict(kwargs or {}))
    try:
        try:
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                return _counted(
                    module, pytree.tree_map_only(torch.Tensor, mode.from_tensor, inputs)
                )
        except (DataDependentOutputException, DynamicOutputShapeException):
            with state_kept(module):
                return _counted(module, copy_of(inputs))
    except Exception as error:  # the model may be anyone's code
        raise ModelError(f"MACs cannot be counted: {reason(error)}") from error


def _counted(module: nn.Module, inputs: Inputs) -> int:
    args, kwargs = inputs
    with torch.no_grad(), quiet_libraries(), counted_flops() as counter:
        module(*args, **kwargs)
    return int(counter.get_total_flops()) // 2


def macs_per_example(captured: Captured) -> tuple[int, int]:
    """MACs of a captured model and the batch size they are for.

    Returns:
        (MACs, 1) where the batch is dynamic; else (MACs of one call, its batch size).
    """
    if batch_size(captured) is not None:
        args, kwargs = with_batch(captured, 1)
        return count_macs(captured.module, args, kwargs), 1
    leaves = [t for t in tensor_leaves((captured.args, captured.kwargs)) if t.ndim]
    macs = count_macs(captured.module, captured.args, captured.kwargs)
    return macs, leaves[0].shape[0] if leaves else 0


def call(module: nn.Module, inputs: Inputs) -> Callable[[], object]:
    """A model's call as :func:`latencies` takes it: no gradients, outputs dropped."""

    def run() -> object:
        with torch.inference_mode():
            return module(*inputs[0], **inputs[1])

    return run


def latencies(
    calls: Mapping[str, Callable[[], object]],
    *,
    batch: int,
    repeats: int = 20,
    warm_up: int = 3,
    seconds: float = 10.0,
) -> dict[str, Latency]:
    """Time calls side by side: one call of each in turn, so that drift of the machine hits all.

    Args:
        calls: by name, what to time.
        batch: batch size that the calls run on, to be stated.
        repeats: timed rounds, at least 3 of them.
        warm_up: rounds before, not timed.
        seconds: stop after the third round once this much time has passed.

    Returns:
        By name, the latency in milliseconds.
    """
    for _ in range(warm_up):
        for run in calls.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    for done in range(max(repeats, 3)):
        if done >= 3 and time.perf_counter() - start > seconds:
            break
        for name, run in calls.items():
            began = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - began) * 1e3)
    return {name: _latency(values, batch) for name, values in times.items()}


def _latency(values: list[float], batch: int) -> Latency:
    low, median, high = statistics.quantiles(values, n=4)
    return Latency(median, low, high, len(values), batch, torch.get_num_threads())
