"""Examples and batches: the forms accepted, and how examples become a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch.utils.data import Dataset, default_collate

from graphprune.errors import DataError
from graphprune.io.text import reason

Given: TypeAlias = tuple[torch.Tensor, ...] | dict[str, Any]
"""The inputs of a batch, batch first: in order or by name."""

Batch: TypeAlias = tuple[Given, torch.Tensor | None]
"""The model's inputs and the targets, batch first; no targets: None."""

TARGETS = ("y", "targets", "target", "labels", "label")
"""Names under which data hold their targets."""

_FORMS = "expected batches of x, (x, y), ((x1, x2), y or None) or a dict by name, all tensors"


class ArrayDataset(Dataset[Any]):
    """Examples held as tensors whose dim 0 counts them.

    ``transform`` is applied to the first input of every batch (shape ``(N, ...)``), so that images
    can stay 8-bit in memory. With ``names``, one for each input, batches are dicts.
    """

    def __init__(
        self,
        inputs: tuple[torch.Tensor, ...],
        target: torch.Tensor | None = None,
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        tensors = inputs if target is None else (*inputs, target)
        sizes = [len(tensor) if tensor.ndim else 0 for tensor in tensors]
        if not inputs or len(set(sizes)) != 1:
            raise DataError(
                f"inputs and targets count {', '.join(map(str, sizes))} examples; they must agree"
            )
        self.inputs, self.target, self.transform, self.names = inputs, target, transform, names

    def __len__(self) -> int:
        return len(self.inputs[0])

    def __getitem__(self, index: int) -> Batch:
        inputs, target = self.__getitems__([index])
        first = [x[0] for x in (inputs.values() if isinstance(inputs, dict) else inputs)]
        return self._given(first), None if target is None else target[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return a whole batch at once, which torch's DataLoader asks for where it can."""
        inputs = tuple(tensor[indices] for tensor in self.inputs)
        if self.transform is not None:
            inputs = (self.transform(inputs[0]), *inputs[1:])
        return self._given(inputs), None if self.target is None else self.target[indices]

    def _given(self, inputs: Sequence[torch.Tensor]) -> Given:
        return dict(zip(self.names, inputs, strict=True)) if self.names else tuple(inputs)


def split_batch(batch: object) -> Batch:
    """Return (inputs, target or None) of a batch in one of the accepted forms.

    ``x``, ``(x,)``, ``(x, y)``, ``((x1, x2), y)``, and the last two with None for ``y``.
    Two tensors are always input and target: two inputs without a target are ``((x1, x2), None)``.
    A dict holds inputs by name, and the target under one of :data:`TARGETS`; that of ``(dict, y)``
    holds inputs alone.
    """
    if isinstance(batch, torch.Tensor):
        return (batch,), None
    if isinstance(batch, Mapping):
        return _by_name(batch, TARGETS)
    if isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[0], Mapping):
        return _by_name(batch[0], ())[0], _checked_target(batch[1])
    if not isinstance(batch, (tuple, list)) or not 1 <= len(batch) <= 2:
        size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise DataError(f"a batch is a {type(batch).__name__}{size}; {_FORMS}")
    inputs = batch[0] if isinstance(batch[0], (tuple, list)) else (batch[0],)
    target = batch[1] if len(batch) == 2 else None
    if not inputs or not all(isinstance(value, torch.Tensor) for value in inputs):
        raise DataError(f"a batch's inputs are not tensors; {_FORMS}")
    return tuple(inputs), _checked_target(target)


def _by_name(batch: Mapping[Any, Any], targets: Sequence[str]) -> Batch:
    """Inputs by name, and the target if there is one among these names."""
    inputs = {str(name): value for name, value in batch.items() if name not in targets}
    wrong = [name for name, value in inputs.items() if not isinstance(value, torch.Tensor)]
    if wrong or not inputs:
        what = f"{wrong[0]!r} of a batch is no tensor" if wrong else "a batch holds no inputs"
        raise DataError(f"{what}; {_FORMS}")
    found = [batch[name] for name in batch if name in targets]
    if len(found) > 1:
        raise DataError(f"a batch holds {len(found)} targets; keep one of {', '.join(targets)}")
    return inputs, _checked_target(found[0] if found else None)


def _checked_target(target: object) -> torch.Tensor | None:
    if target is not None and not isinstance(target, torch.Tensor):
        raise DataError(f"a batch's targets are a {type(target).__name__}; {_FORMS}")
    return target


def collated(collate: Callable[[Any], Any], examples: Any) -> Any:
    """Join examples into a batch. Raises :class:`DataError` if that fails."""
    if isinstance(examples, tuple):
        return examples  # a batch that the dataset made itself; single examples come as a list
    try:
        if collate is default_collate and all(map(_lacks_target, examples)):
            return default_collate([item[0] for item in examples]), None
        return collate(examples)
    except DataError:
        raise
    except Exception as exc:  # a user's collate function may raise anything
        raise DataError(
            f"examples cannot be joined into a batch: {reason(exc)}; give a DataLoader with a "
            "collate_fn"
        ) from exc


def _lacks_target(item: object) -> bool:
    """Return whether an example is (x, None), which torch cannot collate."""
    return isinstance(item, tuple) and len(item) == 2 and item[1] is None
