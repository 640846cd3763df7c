"""Batches for a captured model: of the size asked for, or of the one size that it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import DataLoader

from graphprune.capturing.capture import Captured
from graphprune.errors import DataError
from graphprune.graph.trees import Inputs, tensor_leaves
from graphprune.io import DataBundle, Loss, as_data, check_data_fits
from graphprune.training.binding import Binding


@dataclass(frozen=True)
class Feed:
    """Data cut into batches.

    Attributes:
        bundle: the examples.
        batch_size: examples per batch.
        fixed: whether the model takes no other size, so that a shorter last batch is left out.
    """

    bundle: DataBundle
    batch_size: int
    fixed: bool

    @property
    def has_labels(self) -> bool:
        """Whether the data bring targets."""
        return self.bundle.has_labels

    @property
    def examples(self) -> int:
        """Number of training examples."""
        return len(self.bundle.train)  # type: ignore[arg-type]

    def training(self, seed: int, batch_size: int | None = None) -> DataLoader[Any]:
        """Shuffled training batches, all of the same size: the feed's own unless one is given."""
        size = min(batch_size or self.batch_size, self.examples)
        return self.bundle.batches(size, shuffle=True, seed=seed, drop_last=True)

    def held_out(self) -> DataLoader[Any]:
        """Held-out batches in order."""
        return self.bundle.batches(self.batch_size, holdout=True, drop_last=self.fixed)


def call_arguments(captured: Captured, inputs: Any) -> Inputs:
    """A batch's inputs as (args, kwargs) of the captured model.

    Inputs come as a tensor, a dict by name, or a tuple: those beyond the captured positional
    arguments are taken for the keyword arguments, in their order.
    """
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    values = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    positional = len(captured.args)
    return values[:positional], dict(zip(captured.kwargs, values[positional:], strict=False))


def count_examples(captured: Captured, inputs: Inputs) -> int:
    """How many examples a batch of (args, kwargs) holds.

    Raises:
        DataError: no tensor among them has a dimension for examples.
    """
    leaves = tensor_leaves(inputs)
    pairs = zip(leaves, captured.batch_dims, strict=False)
    sizes = [leaf.shape[d] for leaf, d in pairs if d is not None and leaf.ndim > d]
    sizes = sizes or [leaf.shape[0] for leaf in leaves if leaf.ndim]
    if not sizes:
        raise DataError(
            "nobody can tell how many examples a batch holds: its inputs are single numbers; "
            "give them a batch dimension"
        )
    return int(sizes[0])


def prepared(data: Any, captured: Captured, batch_size: int, loss: Loss | None) -> Feed:
    """The feed of anything :func:`graphprune.io.as_data` takes, checked against the model.

    Raises:
        DataError: the data do not fit the model, or are too few for it.
    """
    if batch_size < 1:
        raise DataError(f"batch_size is {batch_size}; give at least 1")
    bundle = replace(as_data(data), arrange=Binding.of(captured))
    feed = feed_for(captured, bundle, batch_size)
    expected = (captured.args, captured.kwargs) if not captured.kwargs else None
    checked = check_data_fits(
        bundle,
        captured.module,
        expected=expected,
        labels_are_classes=loss is None,
        examples=feed.batch_size if feed.fixed else 2,
    )
    return replace(feed, bundle=checked)


def feed_for(captured: Captured, bundle: DataBundle, batch_size: int) -> Feed:
    """The feed for a model.

    Raises:
        DataError: the model takes one batch size only and there are fewer examples than that.
    """
    if captured.dynamic_batch:
        return Feed(bundle, batch_size, fixed=False)
    leaves = [t for t in tensor_leaves((captured.args, captured.kwargs)) if t.ndim]
    size = int(leaves[0].shape[0]) if leaves else batch_size
    available = min(len(bundle.train), len(bundle.holdout))  # type: ignore[arg-type]
    if available < size:
        raise DataError(
            f"the model takes batches of exactly {size} examples, but the smaller part of the data "
            f"holds {available}; give more data, or export the model with a dynamic batch"
        )
    return Feed(bundle, size, fixed=True)
