"""The inputs of the checks: the examples, and random ones that the model takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from graphprune.capturing.capture import Captured
from graphprune.graph.trees import Inputs, tensor_leaves
from graphprune.proof.answers import answers
from graphprune.proof.fresh_inputs import fresh_inputs, places_of_codes, with_batch

_DRAWS, _MANY_DRAWS = 3, 30


def describe_inputs(seed: int, captured: Captured) -> str:
    """The inputs of the checks, in words."""
    return f"the examples and {_draws(captured)} random inputs like them (seed {seed})"


def _draws(captured: Captured) -> int:
    """How many random inputs: more where outputs are whole numbers alone, which seldom change."""
    nodes = captured.module.graph.output_node().all_input_nodes
    values = [value for node in nodes if isinstance(value := node.meta.get("val"), torch.Tensor)]
    plain = any(value.is_floating_point() or value.is_complex() for value in values)
    return _DRAWS if plain or not values else _MANY_DRAWS


def check_inputs(captured: Captured, seed: int = 0, size: int | None = None) -> list[Inputs]:
    """The examples and random inputs like them, all of one batch size (None: the examples').

    Where the model does not take random integers (boxes whose corners are out of order, offsets
    that must rise), those of the examples change places along the batch; if need be, so do codes in
    a table of floats.
    """
    examples = (captured.args, captured.kwargs) if size is None else with_batch(captured, size)
    drawn = _drawn(captured, seed, size)
    leaves = tensor_leaves(examples)
    integers = {i for i, leaf in enumerate(leaves) if not leaf.dtype.is_floating_point}
    codes = places_of_codes(captured)
    if (integers or codes) and not _runs(captured, drawn):
        drawn = _with_integers(captured, seed, size, integers)
        if codes and not _runs(captured, drawn):
            drawn = _drawn(captured, seed, size, integers | codes)
    return [examples, *drawn]


def _with_integers(
    captured: Captured, seed: int, size: int | None, integers: set[int]
) -> list[Inputs]:
    """Inputs in which as many tensors of integers are drawn as the model takes."""
    tolerated = {
        one
        for one in integers
        if len(integers) > 1 and _runs(captured, _drawn(captured, seed, size, integers - {one}))
    }
    drawn = _drawn(captured, seed, size, integers - tolerated)
    if tolerated and not _runs(captured, drawn):
        drawn = _drawn(captured, seed, size, integers)
    return drawn


def _drawn(
    captured: Captured, seed: int, size: int | None, permuted: Collection[int] = ()
) -> list[Inputs]:
    draws = range(_draws(captured))
    return [fresh_inputs(captured, seed + draw, size, permuted=permuted) for draw in draws]


def _runs(captured: Captured, inputs: Sequence[Inputs]) -> bool:
    try:
        answers(captured.module, inputs)
    except (IndexError, RuntimeError, ValueError):
        return False
    return True
