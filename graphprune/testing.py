"""Help for testing one's own graph passes. Nothing here needs pytest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.infra.pass_base import PassBase, PassResult
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import capture, normalise_inputs
from graphprune.graph.snapshot import Snapshot
from graphprune.passes.base import pass_name, run_passes

Compare = Callable[[Any, Any], None]


def assert_pass(
    pass_: PassBase,
    *,
    module: nn.Module,
    inputs: Any,
    expected: Any = None,
    modified: bool | None = None,
    compare: Compare = torch.testing.assert_close,
) -> PassResult:
    """Assert that ``pass_`` does to ``module`` what a pass may do, and return its result.

    It must run without error, leave a graph that passes torch.fx's lint, tell the truth about
    whether it modified anything, and leave the outputs as they were (or make them ``expected``).

    Args:
        pass_: the pass, an instance.
        module: a GraphModule, or any module, which is then captured. It is copied, never changed.
        inputs: a tensor, a tuple of arguments or a dict of keyword arguments.
        expected: the outputs that the rewritten module must give, where they are to change.
        modified: what the pass must report; None: whatever is true.
        compare: raises AssertionError where its arguments ``(actual, expected)`` differ.

    Raises:
        AssertionError: one of the above does not hold; or every output is constant, so that
            comparing them would prove nothing.
        PassError: the pass failed, or left a broken graph.
    """
    args, kwargs = normalise_inputs(inputs)
    graph_module = module if isinstance(module, fx.GraphModule) else capture(module, inputs).module
    before, work = copy.deepcopy(graph_module), copy.deepcopy(graph_module)
    if expected is None:
        expected = _run(copy.deepcopy(graph_module), args, kwargs)
    _refuse_constant(expected)

    said = _Witness(pass_)
    result = run_passes(work, [said])
    name = pass_name(pass_)
    changes = Snapshot.take(before).differences_from(Snapshot.take(result.graph_module))
    if said.modified and not changes:
        raise AssertionError(f"pass {name!r} reports modified=True, but nothing has changed")
    if changes and not said.modified:
        raise AssertionError(f"pass {name!r} reports modified=False, but changed {changes[0]}")
    if modified is not None and modified != bool(changes):
        raise AssertionError(f"pass {name!r} reports modified={bool(changes)}, not {modified}")
    compare(_run(result.graph_module, args, kwargs), expected)
    return PassResult(result.graph_module, bool(changes))


class _Witness(PassBase):
    """Runs a pass and remembers what it reported; None counts as a report of change."""

    def __init__(self, witnessed: PassBase) -> None:
        self.name = pass_name(witnessed)
        self.modified = False
        self._witnessed = witnessed

    def call(self, graph_module: fx.GraphModule) -> PassResult | None:
        result = self._witnessed(graph_module)
        self.modified = result is None or result.modified
        return result


def _run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # The same random numbers before and after: dropout may be on.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return module(*args, **kwargs)


def _refuse_constant(outputs: Any) -> None:
    tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
    if not any(
        tensor.numel() and bool((tensor != tensor.flatten()[0]).any()) for tensor in tensors
    ):
        raise AssertionError(
            "every output is constant, so comparing them proves nothing; use other inputs, "
            "or give weights that are zero some random values"
        )
