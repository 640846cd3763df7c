"""How far a model's own forward agrees with a graph, module by module."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from graphprune.graph.trees import Inputs, copy_of, tensor_leaves
from graphprune.quiet import quiet

_CLOSE = 2e-5
_Sums = tuple[float, float]

Call = tuple[str, int]
"""A module's qualified name and which call of it in a run, from 1; 0 stands for all calls."""


@dataclass(frozen=True)
class Progress:
    """How far a run went.

    Attributes:
        steps: module calls that ended as the graph foretells, before the first that did not.
        running: the modules that were running then, from the root to the innermost; empty where
            all calls agreed.
        error: what was raised there; None where a value was wrong.
    """

    steps: int
    running: tuple[str, ...] = ()
    error: Exception | None = None


class GraphValues(fx.Interpreter):
    """Checksums of all values of a graph in one run, to recognise them elsewhere.

    Checksums serve to find the place of a difference; equality is proved on whole outputs.
    """

    def __init__(self, module: fx.GraphModule, inputs: Inputs) -> None:
        super().__init__(module)
        self.sums: dict[tuple[int, ...], list[_Sums]] = defaultdict(list)
        with torch.no_grad():
            self.run(*pytree.tree_leaves(copy_of(inputs)), enable_io_processing=False)

    def run_node(self, node: fx.Node) -> Any:
        """Run one node and note its tensors."""
        result = super().run_node(node)
        for tensor in tensor_leaves(result):
            if tensor.is_floating_point():
                self.sums[tuple(tensor.shape)].append(_checksum(tensor))
        return result

    def know(self, value: Any) -> bool:
        """Whether every floating tensor in ``value`` is one of the graph's."""
        for tensor in tensor_leaves(value):
            if tensor.is_floating_point():
                found = _checksum(tensor)
                if not any(_close(found, known) for known in self.sums[tuple(tensor.shape)]):
                    return False
        return True


def follow(model: nn.Module, inputs: Inputs, values: GraphValues, ignore: set[Call]) -> Progress:
    """Run ``model`` until a module gives what is none of ``values``, or raises.

    Args:
        model: in evaluation mode.
        inputs: those that ``values`` were computed from.
        values: of the graph that the model should agree with.
        ignore: calls whose outputs the graph never shows.
    """
    steps = 0
    running: list[str] = []

    def check(call: Call, output: Any) -> None:
        nonlocal steps
        if not {call, (call[0], 0)} & ignore and not values.know(output):
            raise _DepartureError
        steps += 1

    try:
        _run(model, inputs, running, check)
    except _DepartureError:
        return Progress(steps, tuple(running))
    except Exception as error:  # noqa: BLE001 - the user's forward may raise anything
        return Progress(steps, tuple(running), error)
    return Progress(steps)


def unknown_calls(model: nn.Module, inputs: Inputs, values: GraphValues) -> set[Call]:
    """Module calls whose outputs are none of ``values``, though the model and graph are equal."""
    found: set[Call] = set()

    def check(call: Call, output: Any) -> None:
        if not values.know(output):
            found.add(call)

    _run(model, inputs, [], check)
    return found


class _DepartureError(Exception):
    """A module's output is none of the graph's values."""


def _run(
    model: nn.Module, inputs: Inputs, running: list[str], check: Callable[[Call, Any], None]
) -> None:
    """Run ``model``; ``running`` is kept at the modules being called, ``check`` sees each result.

    When something is raised, ``running`` stays as it was then.
    """
    calls: Counter[str] = Counter()

    def enter(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any) -> None:
            running.append(path)

        return hook

    def leave(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            calls[path] += 1
            check((path, calls[path]), output)
            while running and running.pop() != path:
                pass  # a call below it raised, and the forward went on

        return hook

    with contextlib.ExitStack() as stack:
        for path, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(enter(path)).remove)
            stack.callback(module.register_forward_hook(leave(path)).remove)
        with quiet(), torch.no_grad():
            args, kwargs = copy_of(inputs)  # which some forwards write into, or take apart
            model(*args, **kwargs)


def _checksum(tensor: torch.Tensor) -> _Sums:
    values = tensor.detach()
    total, size = (float(t.sum(dtype=torch.float64)) for t in (values, values.abs()))
    if not math.isfinite(size):  # masks hold infinities, whose sums would be equal to nothing
        values = torch.nan_to_num(values, nan=0.0, posinf=1.0, neginf=-1.0)
        total, size = (float(t.sum(dtype=torch.float64)) for t in (values, values.abs()))
    return total, size


def _close(first: _Sums, second: _Sums) -> bool:
    slack = _CLOSE * max(first[1], second[1])
    return abs(first[0] - second[0]) <= slack and abs(first[1] - second[1]) <= slack
