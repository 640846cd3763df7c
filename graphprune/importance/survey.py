"""What the data are that something is learned from, and that every pass over them finds some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized

from graphprune.capturing.capture import Captured
from graphprune.errors import DataError
from graphprune.training.devices import Batch
from graphprune.training.feed import call_arguments, count_examples

_READ_ONCE = "the data can be read only once; give a DataLoader or a list of batches"


def survey(captured: Captured, data: Iterable[Batch]) -> tuple[bool, int, int]:
    """Whether there are labels, the number of batches, and the number of examples N.

    Raises:
        DataError: there are none, they can be read only once, or have no batch dimension.
    """
    if isinstance(data, Iterator):
        raise DataError(_READ_ONCE)
    first = next(iter(data), None)
    if first is None:
        raise DataError("there is no data to learn from; give at least one batch")
    labelled = first[1] is not None
    dataset = getattr(data, "dataset", None)
    if isinstance(data, Sized) and isinstance(dataset, Sized):
        return labelled, len(data), len(dataset)
    batches = examples = 0
    for inputs, _ in one_pass(data):
        batches += 1
        examples += count_examples(captured, call_arguments(captured, inputs))
    return labelled, batches, examples


def one_pass(data: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of one pass over data that have been read before.

    Raises:
        DataError: there are none left, for whoever learns would wait for them without end.
    """
    empty = True
    for batch in data:
        empty = False
        yield batch
    if empty:
        raise DataError(_READ_ONCE)
