"""The examples that are shown, each ready to be run alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch.utils.data import Subset

from graphprune.capturing.capture import Captured, normalise_inputs
from graphprune.errors import DataError, UsageError
from graphprune.graph.trees import Inputs, replace_tensors, tensor_leaves
from graphprune.io.inputs import check_inputs_fit
from graphprune.training.feed import Feed, call_arguments, count_examples

_LOOKED_THROUGH = 64
"""Examples, at least, among which such of different classes are looked for."""


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        name: for people.
        inputs: (args, kwargs) that hold it and no other: a batch of 1, or where the model takes
            one batch size only, as many copies.
        label: its class, None where it has none.
    """

    name: str
    inputs: Inputs
    label: int | None = None


def held_out_examples(
    captured: Captured, feed: Feed, numbers: Sequence[int], count: int
) -> list[Example]:
    """Examples of the held-out data: those numbered, or else ``count``, if possible of as many
    classes, from the first ones.

    Raises:
        UsageError: there is no example of such a number.
    """
    held = feed.bundle.holdout
    size = len(held)  # type: ignore[arg-type]
    wrong = [number for number in numbers if not 0 <= number < size]
    if wrong:
        raise UsageError(
            f"example {wrong[0]}: the held-out data have examples 0 to {size - 1}; choose of these"
        )
    wanted = list(numbers) or list(range(min(size, max(count, _LOOKED_THROUGH))))
    some = replace(feed.bundle, holdout=Subset(held, wanted))
    examples = (
        Example(
            f"held-out example {number}",
            single(captured, call_arguments(captured, inputs), 0),
            _label(target),
        )
        for number, (inputs, target) in zip(wanted, some.batches(1, holdout=True), strict=True)
    )
    return list(examples) if numbers else _of_many_classes(examples, count)


def given_examples(captured: Captured, given: Any, count: int) -> list[Example]:
    """The first ``count`` examples of a batch in any form that the model's inputs may have.

    Raises:
        DataError: the model does not take them, or there are none.
    """
    args, kwargs = normalise_inputs(given)
    if any(leaf.ndim and not len(leaf) for leaf in tensor_leaves((args, kwargs))):
        raise DataError("the inputs to be shown hold no examples; give a batch of at least one")
    expected = (captured.args, captured.kwargs)
    batch = {dim for dim in captured.batch_dims if dim is not None} or {0}
    dim = batch.pop() if len(batch) == 1 else None
    check_inputs_fit(captured.module, args, kwargs, expected=expected, batch_dim=dim)
    known = count_examples(captured, (args, kwargs))
    names = [f"input {number}" for number in range(min(count, known))]
    return [Example(name, single(captured, (args, kwargs), n)) for n, name in enumerate(names)]


def single(captured: Captured, inputs: Inputs, number: int) -> Inputs:
    """One example of a batch, so that all that the model computes belongs to it.

    Raises:
        DataError: there are not as many inputs as the model takes.
    """
    kwargs = {key: inputs[1][key] for key in captured.kwargs if key in inputs[1]}
    ordered = inputs[0], {**kwargs, **inputs[1]}
    leaves = tensor_leaves(ordered)
    likes = tensor_leaves((captured.args, captured.kwargs))
    if len(leaves) != len(likes):
        raise DataError(f"the data have {len(leaves)} inputs, but the model takes {len(likes)}")
    size = fixed_batch(captured)
    alone = []
    for leaf, like, dim in zip(leaves, likes, captured.batch_dims, strict=True):
        if dim is not None:
            leaf = leaf.narrow(dim, number, 1)
        elif size is not None and like.ndim and like.shape[0] == size:
            leaf = leaf.narrow(0, number, 1).repeat(size, *[1] * (leaf.ndim - 1))
        alone.append(leaf)
    args, kwargs = replace_tensors(ordered, alone)
    return args, kwargs


def fixed_batch(captured: Captured) -> int | None:
    """The one batch size that the model takes; None where it takes any."""
    if captured.dynamic_batch:
        return None
    leaves = [leaf for leaf in tensor_leaves((captured.args, captured.kwargs)) if leaf.ndim]
    return int(leaves[0].shape[0]) if leaves else None


def _of_many_classes(examples: Iterator[Example], count: int) -> list[Example]:
    """The first of each class until there are enough, filled up with the first of the others."""
    chosen: list[Example] = []
    passed: list[Example] = []
    for example in examples:
        if len(chosen) == count:
            break
        new = example.label is not None and example.label not in {c.label for c in chosen}
        (chosen if new else passed).append(example)
        if example.label is None and len(passed) == count:
            break
    return [*chosen, *islice(passed, count - len(chosen))]


def _label(target: Any) -> int | None:
    is_class = isinstance(target, torch.Tensor) and target.numel() == 1
    return int(target) if is_class and not target.is_floating_point() else None
