"""Does the captured graph compute what the model computes?

torch.export follows one road through a forward. Another may be taken when it runs: for another
batch (``if x.shape[0] > 3``), where it asks whether it is traced, or where it catches an error.
"""

from __future__ import annotations

import math

import torch

from graphprune.capturing.capture import Captured
from graphprune.capturing.carried import without_carried_state
from graphprune.capturing.keywords import keywords_spelt_out
from graphprune.errors import CertificateError, ModelError
from graphprune.graph.chance import draws, same_chance
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


def require_faithful(model: torch.nn.Module, captured: Captured) -> bool:
    """Whether the graph computes what the model does; False if it does only at one batch size.

    Args:
        model: in evaluation mode.
        captured: what was captured of it.

    Raises:
        ModelError: the graph is for the examples' batch alone, and does not even there.
    """
    free = captured.dynamic_batch
    sizes = (None, *OTHER_BATCHES) if free and batch_size(captured) is not None else (None,)
    for size in sizes:
        examples = captured.args, dict(captured.kwargs)
        inputs = examples if size is None else with_batch(captured, size)
        error = differs(model, captured, inputs)
        if error is None:
            continue
        if free:
            return False
        raise ModelError(
            f"the graph that torch.export makes of {type(model).__name__} gives other values than "
            f"the model itself on the example inputs (relative error {error:.3g}); its forward "
            "does something else while it is traced: look for is_exporting(), or for errors "
            "that it catches"
        )
    return True


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
    if any(a.shape != e.shape for a, e in zip(actual, expected, strict=True)):
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
