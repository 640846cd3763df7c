"""Training data in one form, whatever the user gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, default_collate, random_split

from graphprune.errors import DataError
from graphprune.graph.trees import tensor_leaves
from graphprune.io.examples import ArrayDataset, Batch, Given, collated, split_batch
from graphprune.io.inputs import check_finite, check_inputs_fit
from graphprune.io.loss import check_labels, class_scores, counted_labels, require_counted
from graphprune.io.text import reason
from graphprune.seeds import check_seed


@dataclass(frozen=True)
class DataOptions:
    """How data are read.

    ``input_shape`` is the shape of one example without the batch dimension and ``input_dtype``
    its dtype, where they are known; ``holdout`` the share of the examples put aside
    where the data bring no split of their own, drawn by ``seed``; ``mean`` and ``std`` normalise
    the channels of images on [0, 1] from a file.
    """

    input_shape: tuple[int, ...] | None = None
    input_dtype: torch.dtype | None = None
    holdout: float = 0.1
    seed: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.holdout < 1:
            raise DataError(f"the held-out share is {self.holdout}; expected between 0 and 1")
        check_seed(self.seed)
        if (self.mean is None) != (self.std is None) or 0 in (self.std or ()):
            raise DataError("mean and std go together, and std is never 0")


@dataclass(frozen=True)
class DataBundle:
    """Examples to learn from and examples to judge by.

    ``collate`` makes a batch of a list of examples. ``num_classes``, once known, lets every
    batch be checked for labels out of range; ``arrange``, once the model is known, gives the inputs
    of every batch the form in which it takes them.
    """

    train: Dataset[Any]
    holdout: Dataset[Any]
    has_labels: bool
    collate: Callable[[Any], Any] = field(default=default_collate, repr=False)
    num_classes: int | None = None
    arrange: Callable[[Given], Given] | None = field(default=None, repr=False)

    @property
    def num_examples(self) -> int:
        """Number of examples, training and held out."""
        return _length(self.train) + _length(self.holdout)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        holdout: bool = False,
        drop_last: bool = False,
    ) -> DataLoader[Any]:
        """Return a DataLoader of ``(inputs, target or None)``, on the CPU.

        The order depends on ``seed`` alone. Iterating raises :class:`DataError` at a batch with
        NaN, labels out of range, or another form than the first.
        """
        dataset = self.holdout if holdout else self.train
        return DataLoader(
            dataset,
            batch_size=batch_size,
            shuffle=shuffle,
            generator=torch.Generator().manual_seed(seed),
            collate_fn=self._checked_batch,
            drop_last=drop_last,
        )

    def example_batch(self, n: int = 2) -> Batch:
        """Return the first ``n`` training examples (fewer if there are not so many)."""
        batch: Batch = next(iter(self.batches(n)))
        return batch

    def _checked_batch(self, examples: Any) -> Batch:
        inputs, target = split_batch(collated(self.collate, examples))
        if (target is not None) != self.has_labels:
            raise DataError("some batches have targets and others have none")
        if self.arrange is not None:
            inputs = self.arrange(inputs)
        check_finite(tensor_leaves(inputs), "the data")
        if target is not None:
            check_finite((target,), "the targets")
            if self.num_classes is not None:
                check_labels(target, self.num_classes)
        return inputs, target


def bundle(
    train: Dataset[Any],
    holdout: Dataset[Any] | None,
    options: DataOptions,
    collate: Callable[[Any], Any] = default_collate,
) -> DataBundle:
    """Make a :class:`DataBundle`, splitting ``train`` at random if nothing is held out yet."""
    if holdout is None:
        size = _length(train)
        if size < 2:
            raise DataError(f"the data hold {size} examples; expected at least 2")
        held = min(size - 1, max(1, round(options.holdout * size)))
        parts: Sequence[Subset[Any]] = random_split(
            train, [size - held, held], generator=torch.Generator().manual_seed(options.seed)
        )
        train, holdout = parts
    if not _length(train) or not _length(holdout):
        raise DataError("the data hold no examples to learn from, or none to judge by")
    first = _first_batch(train, collate)
    labelled = split_batch(first)[1] is not None
    made = DataBundle(train, holdout, labelled, collate)
    made.example_batch(1)
    return made


def check_data_fits(
    data: DataBundle,
    model: nn.Module,
    *,
    expected: tuple[Any, ...] | None = None,
    labels_are_classes: bool = True,
    examples: int = 2,
) -> DataBundle:
    """Check the data against the model; return them with the number of classes known.

    Runs the model on a batch of ``examples``. ``expected`` holds example inputs ``(args, kwargs)``
    known to fit. Data held in memory are checked in full, others batch by batch as they are read.
    ``labels_are_classes`` False (the user has a loss of their own) leaves labels unchecked.
    Raises :class:`DataError` for shapes or dtypes that differ, NaN, or labels out of range.
    """
    inputs, target = data.example_batch(examples)
    if isinstance(inputs, dict):
        output = check_inputs_fit(model, (), inputs)
    else:
        output = check_inputs_fit(model, inputs, expected=expected)
    if target is not None and labels_are_classes:
        _refuse_copied_labels(tensor_leaves(inputs), target)
        classes = class_scores(output, target).shape[1]
        data = dataclasses.replace(data, num_classes=classes)
    for dataset in (data.train, data.holdout):
        arrays = _arrays(dataset)
        if arrays is None:
            continue
        check_finite(arrays.inputs, "the data")
        if arrays.target is not None:
            check_finite((arrays.target,), "the targets")
            if data.num_classes is not None:
                check_labels(arrays.target, data.num_classes)
                require_counted(bool(counted_labels(arrays.target).any()), "the data")
    return data


def _refuse_copied_labels(inputs: Sequence[torch.Tensor], target: torch.Tensor) -> None:
    """Refuse labels that say what the input says already.

    Data for language models hold their inputs once more as labels, for a loss that looks one
    position ahead. Compared position by position they would teach the model to copy.
    """
    known = counted_labels(target)
    for tensor in inputs:
        same = tensor.shape == target.shape and tensor.dtype == target.dtype
        if same and target.ndim > 1 and bool((tensor == target)[known].all()):
            raise DataError(
                "the labels are the inputs themselves, as for a language model whose loss looks "
                "one position ahead; give such a loss (loss=, --loss), or leave the labels out"
            )


def _length(dataset: Dataset[Any]) -> int:
    if not hasattr(dataset, "__len__"):
        raise DataError(f"the dataset {type(dataset).__name__} has no length")
    return len(dataset)


def _arrays(dataset: Dataset[Any]) -> ArrayDataset | None:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset if isinstance(dataset, ArrayDataset) else None


def _first_batch(dataset: Dataset[Any], collate: Callable[[Any], Any]) -> object:
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=1, collate_fn=partial(collated, collate), generator=torch.Generator()
    )
    try:
        return next(iter(loader))
    except DataError:
        raise
    except Exception as exc:  # a user's dataset may raise anything
        raise DataError(f"reading the first example raised {reason(exc)}") from exc
