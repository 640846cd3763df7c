"""One eager run of the model, watched: how submodules are called, and who reads whose weights."""

from __future__ import annotations

import contextlib
import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from graphprune.capturing.fast_paths import without_fast_paths
from graphprune.errors import ModelError
from graphprune.graph.flops import flop_counter, products_of_attention
from graphprune.graph.names import graph_name
from graphprune.graph.trees import Inputs, copy_of, tensor_leaves
from graphprune.into.state import SavedState
from graphprune.io.text import reason
from graphprune.partial.calls import Calls, signature
from graphprune.partial.hooks import watched_calls
from graphprune.quiet import quiet

MOST_SIGNATURES = 8
"""Unlike calls of one submodule that are looked at; a generate loop has one a step."""


def run(
    model: nn.Module,
    inputs: Inputs,
    seed: int = 0,
    watch: contextlib.AbstractContextManager[Any] | None = None,
) -> Any:
    """Outputs for copies of ``inputs``, in the mode the model is in, without gradients.

    Layers take the road of training: the other hands values between them that no part can take.

    The same seed gives the same outputs, also of a model that samples or that keeps something from
    call to call in its attributes; these and the caller's random state stay as they were. Nothing
    but the model's call happens within ``watch``.
    """
    args, kwargs = copy_of(inputs)
    saved = SavedState.take(model)
    try:
        with torch.random.fork_rng(devices=_cuda_devices(model)), torch.no_grad(), quiet():
            torch.manual_seed(seed)
            with without_fast_paths(), watch or contextlib.nullcontext():
                return model(*args, **kwargs)
    finally:
        saved.restore()


def observe(
    model: nn.Module, inputs: Inputs, watched: Mapping[str, nn.Module], seed: int = 0
) -> dict[str, Calls]:
    """Run the model once and record the calls of the watched submodules.

    Args:
        model: in evaluation mode.
        inputs: ``(args, kwargs)``.
        watched: submodules by name.
        seed: see :func:`run`.

    Returns:
        Calls by name, also of submodules that were never called.
    """
    examples: dict[str, dict[Any, Inputs]] = {name: {} for name in watched}
    counts, flops = dict.fromkeys(watched, 0), dict.fromkeys(watched, 0)
    counter = flop_counter()

    def enter(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        counts[name] += 1
        flops[name] -= counter.get_total_flops()
        known, key = examples[name], signature((args, kwargs))
        if key not in known and len(known) < MOST_SIGNATURES:
            known[key] = copy_of((args, kwargs))

    def leave(name: str, _output: Any) -> None:
        flops[name] += counter.get_total_flops()

    with watched_calls(watched, enter, leave, always=True), products_of_attention():
        run(model, inputs, seed, counter)
    return {
        name: Calls(tuple(examples[name].values()), counts[name], flops[name]) for name in watched
    }


def read_outside(
    model: nn.Module, inputs: Inputs, parts: Mapping[str, nn.Module], seed: int = 0
) -> dict[str, frozenset[str]]:
    """Which tensors of each part anything but the part itself has a hand in.

    Those are tensors that also belong to a module outside of the part, and those that an operation
    reads while the part is not being called (``F.linear(x, self.part.weight)``, a method of the
    part other than ``forward``). Memory is compared, so views and tied names are found.

    Returns:
        For each part, names within it (all names of a tied tensor).
    """
    own = {name: _tensors(part) for name, part in parts.items()}
    outside: dict[str, set[int]] = {
        name: _pointers_beyond(model, part) for name, part in parts.items()
    }
    running: dict[str, int] = defaultdict(int)
    holders: dict[int, list[str]] = defaultdict(list)
    for name, tensors in own.items():
        for pointer in set(map(_pointer, tensors.values())):
            holders[pointer].append(name)

    class Reads(TorchDispatchMode):
        supports_higher_order_operators = True  # what a branch reads is among its operands

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            for tensor in tensor_leaves((args, kwargs or {})):
                pointer = _pointer(tensor)
                for name in holders.get(pointer, ()):
                    if not running[name]:
                        outside[name].add(pointer)
            return func(*args, **(kwargs or {}))

    def enter(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        running[name] += 1

    def leave(name: str, _output: Any) -> None:
        running[name] -= 1

    reads: TorchDispatchMode = Reads()  # type: ignore[no-untyped-call]
    with watched_calls(parts, enter, leave, always=True):
        run(model, inputs, seed, reads)
    return {
        name: frozenset(key for key, tensor in own[name].items() if _pointer(tensor) in found)
        for name, found in outside.items()
    }


def copied(model: nn.Module, failure: ModelError) -> nn.Module:
    """A copy in evaluation mode, of a model that cannot be captured whole for ``failure``.

    Raises:
        ModelError: it cannot be copied.
    """
    try:
        return copy.deepcopy(model).eval()
    except Exception as error:
        raise ModelError(
            f"{failure}; its parts cannot be tried either, for it cannot be copied: {reason(error)}"
        ) from error


def macs_of_a_run(model: nn.Module, inputs: Inputs, seed: int, failure: ModelError) -> int:
    """MACs of one call, which shows too that the model runs at all.

    Raises:
        ModelError: ``failure`` itself, as the inputs are at fault.
    """
    try:
        counter = flop_counter()
        with products_of_attention():
            run(model, inputs, seed, counter)
    except Exception:  # noqa: BLE001 - then the inputs are at fault, as the first error says
        raise failure from failure.__cause__
    return int(counter.get_total_flops()) // 2


def own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers by a graph's names for them, tied ones under each."""
    tensors = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    return {graph_name(name): tensor for name, tensor in tensors.items()}


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t for name, t in own_tensors(module).items() if _pointer(t)}


def _pointers_beyond(model: nn.Module, part: nn.Module) -> set[int]:
    within = {id(module) for module in part.modules()}
    return {
        _pointer(tensor)
        for module in model.modules()
        if id(module) not in within
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None and _pointer(tensor)
    }


def _pointer(tensor: torch.Tensor) -> int:
    """Address of a tensor's memory; 0 where it has none (sparse, meta)."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return 0


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return list({p.device for p in model.parameters() if p.device.type == "cuda"})
