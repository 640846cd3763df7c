"""Data that Python callers give: loaders, datasets, tensors, iterables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from graphprune.errors import DataError
from graphprune.io.data import DataBundle, DataOptions, bundle
from graphprune.io.examples import ArrayDataset, split_batch
from graphprune.io.text import reason


def as_data(obj: object, options: DataOptions | None = None) -> DataBundle:
    """Bring what a Python caller gives as data into one form.

    A DataLoader (its dataset and collate function are used, not its order), a Dataset, a tensor or
    NumPy array x, a tuple (x, y) or ((x1, x2), y or None) of them, a dict of them by the names of
    the model's inputs, with the targets under ``labels`` or the like
    (:data:`graphprune.io.examples.TARGETS`), a pair of DataLoaders or Datasets (training, held
    out), or any iterable of batches (read once, into memory).
    Raises :class:`DataError` if it is none of these, is empty, or does not hold together.
    """
    options = options or DataOptions()
    if isinstance(obj, DataBundle):
        return obj
    if isinstance(obj, (tuple, list)) and len(obj) == 2 and all(map(_is_source, obj)):
        train, collate = _dataset(obj[0])
        holdout, _ = _dataset(obj[1])
        return bundle(train, holdout, options, collate)
    dataset, collate = _dataset(obj)
    return bundle(dataset, None, options, collate)


def _is_source(value: object) -> bool:
    return isinstance(value, (DataLoader, Dataset))


def _dataset(obj: object) -> tuple[Dataset[Any], Callable[[Any], Any]]:
    if isinstance(obj, DataLoader):
        # batch_size None: the dataset itself makes batches, so it must be read as an iterable.
        if not isinstance(obj.dataset, IterableDataset) and obj.batch_size is not None:
            return obj.dataset, obj.collate_fn
        return _gather(obj), default_collate
    if isinstance(obj, Dataset) and not isinstance(obj, IterableDataset):
        return obj, default_collate
    arrays = _whole_arrays(obj)
    if arrays is not None:
        return _held(arrays), default_collate
    if isinstance(obj, Iterable) and not isinstance(obj, (str, bytes, dict)):
        return _gather(obj), default_collate
    raise DataError(
        f"data of type {type(obj).__name__}; expected a DataLoader, a Dataset, tensors (x, y) or "
        "x or a dict of them, or an iterable of batches"
    )


def _held(batch: Any) -> ArrayDataset:
    """A whole data set that comes as one batch."""
    inputs, target = split_batch(batch)
    if isinstance(inputs, dict):
        return ArrayDataset(tuple(inputs.values()), target, names=tuple(inputs))
    return ArrayDataset(inputs, target)


def _whole_arrays(obj: object) -> Any:
    """Return x, (x, y) or a dict of tensors if ``obj`` is a whole data set, else None."""
    if isinstance(obj, (torch.Tensor, np.ndarray)):
        return torch.as_tensor(obj)
    if isinstance(obj, Mapping):
        held = obj.items()
        return {k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in held}
    if not isinstance(obj, tuple) or not 1 <= len(obj) <= 2:
        return None
    first = obj[0] if isinstance(obj[0], (tuple, list)) else (obj[0],)
    rest = [value for value in obj[1:] if value is not None]
    if not first or not all(isinstance(x, (torch.Tensor, np.ndarray)) for x in (*first, *rest)):
        return None
    return tuple(map(torch.as_tensor, first)), torch.as_tensor(rest[0]) if rest else None


def _gather(batches: Iterable[Any]) -> ArrayDataset:
    """Read all batches of an iterable into memory."""
    try:
        parts = [split_batch(batch) for batch in batches]
    except DataError:
        raise
    except Exception as exc:  # a user's iterable may raise anything
        raise DataError(f"reading the data raised {reason(exc)}") from exc
    if not parts:
        raise DataError("the data yield no batches")
    names = {tuple(inputs) if isinstance(inputs, dict) else () for inputs, _ in parts}
    given = [tuple(x.values()) if isinstance(x, dict) else x for x, _ in parts]
    columns = list(zip(*given, strict=False))
    targets = [target for _, target in parts if target is not None]
    alike = len(names) == 1 and len({len(inputs) for inputs in given}) == 1
    if not alike or len(targets) not in (0, len(parts)):
        raise DataError("the batches differ in their inputs, or some lack targets")
    try:
        joined = tuple(torch.cat(column) for column in columns)
        return ArrayDataset(joined, torch.cat(targets) if targets else None, names=names.pop())
    except (RuntimeError, TypeError) as exc:
        raise DataError(
            f"the batches do not join along dim 0: {reason(exc, 120)}; give a DataLoader over a "
            "map-style dataset"
        ) from exc
