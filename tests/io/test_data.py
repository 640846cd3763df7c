"""Data in every form accepted, and every way of being wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import error_lines
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from graphprune.errors import DataError
from graphprune.io import DataOptions, as_data, check_data_fits

X, Y = torch.randn(20, 4), torch.arange(20) % 3


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from zip(X, Y, strict=True)


def padded(examples: list[Any]) -> Any:
    size = max(len(x) for x, _ in examples)
    x = torch.stack([nn.functional.pad(x, (0, size - len(x))) for x, _ in examples])
    return x, torch.tensor([y for _, y in examples])


RAGGED = [(torch.ones(1 + i % 3), i % 2) for i in range(10)]


class ListData(torch.utils.data.Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


FORMS: dict[str, tuple[Callable[[], object], bool]] = {
    "tensors": (lambda: (X, Y), True),
    "tensor": (lambda: X, False),
    "tensor, no target": (lambda: (X, None), False),
    "arrays": (lambda: (X.numpy(), Y.numpy()), True),
    "dataset": (lambda: TensorDataset(X, Y), True),
    "loader": (lambda: DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True), True),
    "loader without targets": (lambda: DataLoader(TensorDataset(X), batch_size=7), False),
    "loader of a stream": (lambda: DataLoader(Stream(), batch_size=7), True),
    "list of batches": (lambda: [(X[:12], Y[:12]), (X[12:], Y[12:])], True),
    "generator": (lambda: (part for part in X.split(6)), False),
    "examples without targets": (lambda: ListData([(x, None) for x in X]), False),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_give_all_examples_once(name: str) -> None:
    make, labelled = FORMS[name]
    data = as_data(make())
    assert data.has_labels == labelled
    assert data.num_examples == 20
    rows: list[torch.Tensor] = []
    for holdout, size in ((False, 18), (True, 2)):
        seen = 0
        for inputs, target in data.batches(4, holdout=holdout):
            assert isinstance(inputs, tuple)
            assert len(inputs) == 1
            assert (target is not None) == labelled
            rows += list(inputs[0])
            seen += len(inputs[0])
            if target is not None:
                for row, label in zip(inputs[0], target, strict=True):
                    assert Y[(row == X).all(1)].item() == label
        assert seen == size
    assert torch.equal(torch.stack(sorted(rows, key=str)), torch.stack(sorted(X, key=str)))


def test_several_inputs() -> None:
    data = as_data(((X, X * 2), Y))
    inputs, target = data.example_batch(3)
    assert len(inputs) == 2
    assert torch.equal(inputs[1], inputs[0] * 2)
    assert target is not None
    assert as_data(((X, X * 2), None)).has_labels is False
    assert as_data([((X, X * 2), Y)]).example_batch(3)[0][1].shape == (3, 4)


def test_own_split_is_kept() -> None:
    data = as_data((TensorDataset(X, Y), DataLoader(TensorDataset(X[:5], Y[:5]))))
    assert (len(data.train), len(data.holdout)) == (20, 5)


def test_split_and_order_depend_on_the_seed_alone() -> None:
    def order(data_seed: int, seed: int) -> list[float]:
        data = as_data((X, Y), DataOptions(seed=data_seed))
        return [float(v) for x, _ in data.batches(4, shuffle=True, seed=seed) for v in x[0][:, 0]]

    first = order(0, 0)
    torch.manual_seed(123)
    assert order(0, 0) == first
    assert order(0, 1) != first
    assert sorted(order(0, 1)) == sorted(first)
    assert sorted(order(1, 0)) != sorted(first)


def test_reading_does_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    for _ in as_data((X, Y)).batches(4, shuffle=True):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_collate_function_of_the_loader_is_used() -> None:
    data = as_data(DataLoader(ListData(RAGGED), collate_fn=padded))
    assert data.example_batch(9)[0][0].shape == (9, 3)


def test_bundle_passes_through() -> None:
    data = as_data((X, Y))
    assert as_data(data) is data


BAD_OBJECTS: dict[str, tuple[Callable[[], object], str]] = {
    "none": (lambda: None, "NoneType"),
    "string": (lambda: "abc", "type str"),
    "empty": (list, "no batches"),
    "one example": (lambda: X[:1], "at least 2"),
    "empty tensor": (lambda: X[:0], "at least 2"),
    "lengths differ": (lambda: (X, Y[:3]), "must agree"),
    "a name that holds no tensor": (lambda: [{"x": X, "text": "a"}], "no tensor"),
    "three tensors": (lambda: [(X, X, Y)], "tuple of 3"),
    "targets missing later": (lambda: [(X, Y), X], "lack targets"),
    "batches of other shape": (lambda: [X, X[:, :2]], "do not join"),
    "strings": (lambda: [("a", "b")], "not tensors"),
    "ragged": (lambda: ListData(RAGGED), "cannot be joined into a batch"),
    "raises": (lambda: (1 / 0 for _ in range(2)), "ZeroDivisionError"),
    "nan": (lambda: [X[:2], torch.full((2, 4), float("nan"))] * 5, "NaN"),
}


@pytest.mark.parametrize("name", BAD_OBJECTS)
def test_bad_objects(name: str) -> None:
    make, message = BAD_OBJECTS[name]

    def read() -> None:
        data = as_data(make())
        for holdout in (False, True):
            for _ in data.batches(4, holdout=holdout):
                pass

    check_error(read, message)


CLASSIFIER = nn.Linear(4, 3)


def test_data_that_fit_are_returned_with_the_classes() -> None:
    assert check_data_fits(as_data((X, Y)), CLASSIFIER).num_classes == 3
    assert check_data_fits(as_data(X), CLASSIFIER).num_classes is None


BAD_FITS: dict[str, tuple[object, str]] = {
    "width": ((torch.randn(20, 5), Y), "does not run on the inputs given (2x5:float32)"),
    "dtype": ((X.double(), Y), "2x4:float64"),
    "label too large": ((X, Y + 1), "label 3 is out of range"),
    "label negative": ((X, Y - 1), "label -1 is out of range"),
    "float labels": ((X, Y.float()), "not class labels"),
    "rare label": ((X, torch.cat([Y[:19], torch.tensor([9])])), "label 9 is out of range"),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_data_that_do_not_fit(name: str) -> None:
    given, message = BAD_FITS[name]
    check_error(lambda: check_data_fits(as_data(given), CLASSIFIER), message)


def test_rare_nan_is_found_in_all_the_data() -> None:
    x = X.clone()
    data = as_data((x, Y))
    x[data.holdout.indices[-1], 2] = float("inf")  # type: ignore[attr-defined]
    check_error(lambda: check_data_fits(data, CLASSIFIER), "NaN or infinite")


def test_labels_of_a_stream_are_checked_as_they_come() -> None:
    items = [(x, 7 if i == 13 else 0) for i, x in enumerate(X)]
    data = check_data_fits(as_data(ListData(items)), CLASSIFIER)

    def read() -> None:
        for holdout in (False, True):
            list(data.batches(4, holdout=holdout))

    check_error(read, "label 7 is out of range")


def test_labels_are_left_alone_for_a_loss_of_ones_own() -> None:
    data = check_data_fits(as_data((X, Y + 50)), CLASSIFIER, labels_are_classes=False)
    assert data.num_classes is None


def test_options_are_checked() -> None:
    check_error(lambda: DataOptions(holdout=1.0), "held-out share")
    check_error(lambda: DataOptions(mean=(0.5,)), "go together")


def check_error(action: Callable[[], object], message: str) -> None:
    error_lines.check_error(action, message, DataError)
