"""Losses: the user's, cross-entropy in its layouts, and reproducing a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import DataError, UsageError
from graphprune.io import check_labels, cross_entropy, default_loss, load_loss, reproduce

LOSSES = """
import torch
def good(output, target): return ((output - target) ** 2).mean()
def one(output, target): return ((output - target) ** 2).mean().reshape(1)
def vector(output, target): return (output - target) ** 2
def number(output, target): return 1.0
def integer(output, target): return torch.tensor(1)
"""


@dataclass
class Output:
    loss: None
    aux: torch.Tensor
    logits: torch.Tensor


def test_cross_entropy_finds_the_scores_anywhere() -> None:
    scores, labels = torch.randn(5, 7), torch.arange(5)
    want = F.cross_entropy(scores, labels)
    outputs: list[Any] = [
        scores,
        (scores, torch.zeros(2)),
        [torch.zeros(3, dtype=torch.int64), scores],
        {"logits": scores},
        {"a": torch.zeros(2), "logits": scores},
        Output(None, torch.zeros(3, 3), scores),
    ]
    for output in outputs:
        torch.testing.assert_close(cross_entropy(output, labels), want)


def test_cross_entropy_layouts() -> None:
    maps, classes = torch.randn(2, 4, 3, 5), torch.randint(4, (2, 3, 5))
    torch.testing.assert_close(cross_entropy(maps, classes), F.cross_entropy(maps, classes))
    last = maps.movedim(1, -1)
    torch.testing.assert_close(cross_entropy(last, classes), F.cross_entropy(maps, classes))
    classes[0] = -100
    torch.testing.assert_close(cross_entropy(maps, classes), F.cross_entropy(maps, classes))
    scores, shares = torch.randn(3, 4), torch.rand(3, 4).softmax(1)
    torch.testing.assert_close(cross_entropy(scores, shares), F.cross_entropy(scores, shares))
    small = torch.tensor([0, 1, 2], dtype=torch.uint8)
    torch.testing.assert_close(cross_entropy(scores, small), F.cross_entropy(scores, small.long()))


@pytest.mark.parametrize(
    ("output", "target", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64), "do not fit the output 3x4"),
        (torch.zeros(3, 4), torch.zeros(3), "not class labels"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), "do not fit"),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), "no floating"),
        (torch.zeros(3, 4), [0, 1, 2], "labels are a list"),
    ],
)
def test_labels_of_the_wrong_form(output: Any, target: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cross_entropy(output, target)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 4], "label 4 is out of range: the model has 4 classes"), ([-1, 2], "label -1")],
)
def test_labels_out_of_range(labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_labels(torch.tensor(labels), 4)


@pytest.mark.parametrize(
    ("targets", "classes", "message"),
    [
        ([[1.0, 1.0, 0.0]], 3, "1x3:float32 are no probabilities of classes"),  # several labels
        ([[0.5, 1.5, -1.0]], 3, "no probabilities"),  # regression
        ([[1.0], [0.0]], 1, "one score for each example"),
    ],
)
def test_what_cross_entropy_would_learn_nothing_right_from(
    targets: list[list[float]], classes: int, message: str
) -> None:
    with pytest.raises(DataError, match=f"{message}.*--loss torch.nn.functional:mse_loss"):
        check_labels(torch.tensor(targets), classes)


def test_probabilities_are_labels() -> None:
    check_labels(torch.tensor([[0.1, 0.9, 0.0], [0.05, 0.05, 0.9]]), 3)
    check_labels(torch.rand(2, 3, 4, 4).softmax(1), 3)


def test_labels_in_range() -> None:
    check_labels(torch.tensor([0, 3, -100]), 4)
    check_labels(torch.tensor([-100]), 4)
    check_labels(torch.tensor([], dtype=torch.int64), 4)


def test_default_loss() -> None:
    assert default_loss(True) is cross_entropy
    assert default_loss(False) is reproduce


def test_reproduce_known_answers() -> None:
    teacher = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    assert reproduce(teacher, teacher) == 0
    mean = torch.full_like(teacher, 4.0)
    torch.testing.assert_close(reproduce(mean, teacher), torch.tensor(1.0))
    # variance 5, squared error 4
    torch.testing.assert_close(reproduce(teacher + 2, teacher), torch.tensor(0.8))
    both = reproduce({"a": teacher + 2, "b": [teacher]}, {"a": teacher, "b": [teacher]})
    torch.testing.assert_close(both, torch.tensor(0.4))


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_reproduce_is_free_of_scale(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = torch.randn(2, 3, 4, generator=generator)
    torch.testing.assert_close(
        reproduce(ours * scale, theirs * scale), reproduce(ours, theirs), rtol=1e-4, atol=1e-6
    )


def test_reproduce_has_finite_gradients_everywhere() -> None:
    teachers = [
        torch.zeros(3, 2),
        torch.full((3, 2), 0.1),
        torch.tensor([[1.0, float("-inf")], [2.0, 3.0]]),
        torch.full((2, 2), float("-inf")),
    ]
    for teacher in teachers:
        ours = torch.randn(teacher.shape, requires_grad=True)
        loss = reproduce(ours, teacher)
        loss.backward()
        assert torch.isfinite(loss)
        assert ours.grad is not None
        assert torch.isfinite(ours.grad).all()


def test_reproduce_teacher_gets_no_gradient() -> None:
    teacher = torch.randn(3, 2, requires_grad=True)
    reproduce(torch.randn(3, 2, requires_grad=True), teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (torch.zeros(2), torch.zeros(3)),
        (torch.zeros(2), (torch.zeros(2), torch.zeros(2))),
        (torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_reproduce_refuses_other_outputs(ours: Any, theirs: Any) -> None:
    with pytest.raises(DataError, match="do not match"):
        reproduce(ours, theirs)


@pytest.fixture
def losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "losses_of_test.py").write_text(LOSSES)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("losses")
def test_user_loss() -> None:
    output, target = torch.randn(3), torch.randn(3)
    for name in ("good", "one"):
        value = load_loss(f"losses_of_test:{name}")(output, target)
        torch.testing.assert_close(value, F.mse_loss(output, target))
        assert value.shape == ()


@pytest.mark.usefixtures("losses")
@pytest.mark.parametrize(
    ("name", "message"),
    [("vector", "returned 3:float32"), ("number", "returned a float"), ("integer", "int64")],
)
def test_user_loss_that_is_no_scalar(name: str, message: str) -> None:
    loss = load_loss(f"losses_of_test:{name}")
    with pytest.raises(UsageError, match=message):
        loss(torch.zeros(3), torch.zeros(3))


@pytest.mark.usefixtures("losses")
@pytest.mark.parametrize("spec", ["nonsense", "losses_of_test:absent", "no_such_module:loss"])
def test_user_loss_that_is_not_there(spec: str) -> None:
    with pytest.raises(UsageError, match="--loss"):
        load_loss(spec)
