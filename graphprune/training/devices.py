"""Where training runs: device, precision and processes, through Hugging Face Accelerate."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from accelerate.accelerator import Accelerator
from accelerate.state import is_initialized
from accelerate.utils.dataclasses import AutocastKwargs
from accelerate.utils.operations import send_to_device
from torch import fx, nn
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from graphprune.capturing.capture import Captured

Batch = tuple[Any, Any]


class Runtime:
    """Device, precision and processes for one training run.

    A GPU is used when there is one, in bfloat16 autocast where it supports that; else the CPU in
    float32. What ``accelerate launch`` or its environment variables set wins over these defaults.
    """

    def __init__(self, *, mixed_precision: bool = True) -> None:
        self._accelerator = Accelerator(mixed_precision=_default_precision())
        self._autocast = AutocastKwargs(enabled=mixed_precision)

    @property
    def device(self) -> torch.device:
        """The device that modules and batches are moved to."""
        device: torch.device = self._accelerator.device
        return device

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return int(self._accelerator.process_index)

    @property
    def processes(self) -> int:
        """Number of processes that train together."""
        return int(self._accelerator.num_processes)

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which forward passes run in the chosen precision."""
        context: AbstractContextManager[None] = self._accelerator.autocast(self._autocast)
        return context

    def batches(self, data: Iterable[Batch]) -> Iterator[Batch]:
        """This process's share of the batches, on the device.

        Batches are dealt out in turn; a last round too short for all processes is left out, so
        that all take the same number of steps.
        """
        waiting: list[Batch] = []
        for batch in data:
            waiting.append(batch)
            if len(waiting) == self.processes:
                mine = pytree.tree_map_only(torch.Tensor, _learnable, waiting[self.rank])
                yield send_to_device(mine, self.device, non_blocking=True)  # type: ignore[no-untyped-call]
                waiting.clear()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes."""
        self.average([p.grad for p in parameters if p.grad is not None])

    def average_buffers(self, module: nn.Module) -> None:
        """Replace each floating buffer (running statistics) by its mean over all processes."""
        self.average([b for b in module.buffers() if b.is_floating_point()])

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place."""
        if self.processes == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                mean = self._accelerator.reduce(tensor, reduction="mean")  # type: ignore[no-untyped-call]
                tensor.copy_(mean)


def _learnable(tensor: torch.Tensor) -> torch.Tensor:
    """One that autograd may keep: a copy of what was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def _default_precision() -> str | None:
    """bf16 on a GPU that has it; None where someone else has already decided."""
    if is_initialized() or "ACCELERATE_MIXED_PRECISION" in os.environ:
        return None
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if on_cpu or not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"


def module_device(module: nn.Module) -> torch.device:
    """Device of a module's first parameter or buffer; the CPU if it has neither."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def move(module: nn.Module, device: torch.device) -> None:
    """Move a module in place, including the devices that torch.export bakes into graphs."""
    module.to(device)
    for part in module.modules():
        if isinstance(part, fx.GraphModule) and _retarget(part.graph, device):
            part.recompile()


@contextmanager
def moved(device: torch.device, *modules: nn.Module) -> Iterator[None]:
    """While open, the modules lie on a device; afterwards each where it was."""
    homes = [module_device(module) for module in modules]
    for module in modules:
        move(module, device)
    try:
        yield
    finally:
        for module, home in zip(modules, homes, strict=True):
            move(module, home)


def _retarget(graph: fx.Graph, device: torch.device) -> bool:
    changed = False

    def replaced(argument: Any) -> Any:
        nonlocal changed
        if isinstance(argument, torch.device) and argument != device:
            changed = True
            return device
        return argument

    for node in graph.nodes:
        node.args = fx.node.map_aggregate(node.args, replaced)
        node.kwargs = fx.node.map_aggregate(node.kwargs, replaced)
    return changed


def on_cpu(captured: Captured) -> Captured:
    """The captured model on the CPU: itself if it lies there, else a copy."""
    if module_device(captured.module).type == "cpu":
        return captured
    module = copy.deepcopy(captured.module)
    move(module, torch.device("cpu"))
    args, kwargs = pytree.tree_map_only(
        torch.Tensor, torch.Tensor.cpu, (captured.args, captured.kwargs)
    )
    return replace(captured, module=module, args=args, kwargs=kwargs)


def run_module(module: nn.Module, inputs: Any) -> Any:
    """Call a module on one batch's inputs: a tensor, a tuple of arguments, or a dict by name."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    if isinstance(inputs, list | tuple):
        return module(*inputs)
    return module(inputs)
