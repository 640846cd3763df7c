"""Does the captured graph compute what the model computes?

torch.export follows one road through a forward. Another may be taken when it runs: for another
batch (``if x.shape[0] > 3``), where it asks whether it is traced, or where it catches an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from graphprune.capturing.capture import Captured
from graphprune.capturing.carried import without_carried_state
from graphprune.capturing.fast_paths import without_fast_paths
from graphprune.capturing.keywords import keywords_spelt_out
from graphprune.errors import CertificateError, ModelError
from graphprune.graph.chance import draws, same_chance
from graphprune.graph.names import with_graph_names
from graphprune.graph.state import state_kept
from graphprune.graph.trees import Inputs, copy_of, tensor_leaves
from graphprune.into.state import SavedState
from graphprune.proof.certify import model_limit
from graphprune.proof.compare import max_relative_error
from graphprune.proof.fresh_inputs import batch_size, with_batch
from graphprune.proof.rounding import within_rounding
from graphprune.quiet import quiet

OTHER_BATCHES = (1, 3)
"""Batch sizes that a model with a free batch is tried at, besides that of the examples."""


def require_faithful(model: torch.nn.Module, captured: Captured) -> Captured | None:
    """The capture whose graph computes what the model does; None if it does at one batch alone.

    Args:
        model: in evaluation mode.
        captured: what was captured of it.

    Returns:
        ``captured``, marked where the model does so only by the road of training.

    Raises:
        ModelError: the graph is for the examples' batch alone, and does not even there.
    """
    free = captured.dynamic_batch
    as_in_training = False
    for inputs in _calls(captured):
        error = differs(model, captured, inputs)
        if error is None:
            continue
        with without_fast_paths():
            if differs(model, captured, inputs) is None:
                as_in_training = True
                continue
        if free:
            return None
        raise ModelError(
            f"the graph that torch.export makes of {type(model).__name__} gives other values than "
            f"the model itself on the example inputs (relative error {error:.3g}); its forward "
            "does something else while it is traced: look for is_exporting(), or for errors "
            "that it catches"
        )
    return replace(captured, as_in_training=as_in_training)


def require_same(program: torch.export.ExportedProgram, captured: Captured) -> None:
    """Refuse a graph that does not compute what the program does that it was made from.

    Raises:
        ModelError: it does not.
    """
    module = with_graph_names(program).module(check_guards=False)
    for inputs in _calls(captured):
        error = differs(module, captured, inputs)
        if error is not None:
            raise ModelError(
                f"the program gives other values when its graph is simplified (relative error "
                f"{error:.3g}); give the nn.Module that it was exported from"
            )


def _calls(captured: Captured) -> Iterator[Inputs]:
    """The examples, and where the batch is free, as many of them as other batches have."""
    yield captured.args, dict(captured.kwargs)
    if captured.dynamic_batch and batch_size(captured) is not None:
        yield from (with_batch(captured, size) for size in OTHER_BATCHES)


def differs(model: torch.nn.Module, captured: Captured, inputs: Inputs) -> float | None:
    """The relative error of the graph on these inputs, where it is more than rounding; else None.

    None too where nothing can be compared: the model does not run on these inputs, draws random
    numbers, writes into its buffers, gives other answers when it is asked again, or has no values
    (the meta device).

    Args:
        model: in evaluation mode; its attributes stay as they are.
        captured: what was captured of it.
        inputs: of a size that the graph takes.
    """
    own = [*model.parameters(), *model.buffers(), *tensor_leaves(inputs)]
    if any(tensor.is_meta for tensor in own) or any(map(draws, captured.module.graph.nodes)):
        return None
    before = SavedState.take(model)
    try:
        return _difference(model, captured, inputs)
    except Exception:  # noqa: BLE001 - the model's own code, on a batch that it may not take
        return None
    finally:
        before.restore()


def _difference(model: torch.nn.Module, captured: Captured, inputs: Inputs) -> float | None:
    with state_kept(model) as moved:
        expected = _answer(model, inputs)
        if moved():
            return None
    try:
        actual = _answer(captured.module, inputs)
    except Exception:  # noqa: BLE001 - a graph of another road may fail anyhow
        return math.inf
    if len(actual) != len(expected):
        return None  # objects that hold tensors
    pairs = list(zip(actual, expected, strict=True))
    if any(a.shape != e.shape or a.dtype != e.dtype for a, e in pairs):
        return math.inf
    error = max_relative_error(actual, expected)

    def check(limit: float) -> None:
        if not error <= limit:
            raise CertificateError(f"the graph differs by {error}")

    try:
        within_rounding(captured, model_limit(captured), check)
    except CertificateError:
        steady = max_relative_error(_answer(model, inputs), expected) == 0
        return error if steady else None
    return None


@torch.no_grad()
def _answer(model: torch.nn.Module, inputs: Inputs) -> list[torch.Tensor]:
    args, kwargs = copy_of(inputs)  # which some forwards write into
    carried, named = without_carried_state(model, args, kwargs), keywords_spelt_out(model, kwargs)
    with quiet(), same_chance(), carried, named:
        return tensor_leaves(model(*args, **kwargs))


def fast_paths_matter(model: torch.nn.Module, inputs: Inputs, limit: float) -> bool:
    """Whether the model gives other values on the road that its layers take in training.

    Args:
        model: in evaluation mode.
        inputs: of the model.
        limit: the relative error that is rounding.
    """
    try:
        own = _answer(model, inputs)
        with without_fast_paths():
            other = _answer(model, inputs)
    except Exception:  # noqa: BLE001 - the model's own code
        return False
    return len(own) == len(other) and not max_relative_error(own, other) <= limit
