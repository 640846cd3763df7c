"""Least squares for functions known by calling them, beside torch.linalg.lstsq."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch.nn import functional as F

from graphprune.training.least_squares import Tensors, is_affine, least_squares


def problem(batches: int = 3) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Rows of features (7, 5) and of targets (7, 2) for each batch."""
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(7, 5, dtype=torch.float64, generator=generator) for _ in range(batches)]
    return x, [torch.randn(7, 2, dtype=torch.float64, generator=generator) for _ in x]


def test_it_finds_what_lstsq_finds() -> None:
    x, y = problem()
    start = [torch.zeros(5, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    found = least_squares(lambda b, v: x[b] @ v[0] + v[1], start, y, judges=0, steps=50)
    rows = torch.cat([torch.cat(x), torch.ones(21, 1, dtype=torch.float64)], dim=1)
    exact = torch.linalg.lstsq(rows, torch.cat(y)).solution
    torch.testing.assert_close(torch.cat([found.values[0], found.values[1][None]]), exact)
    left = torch.cat(y) - rows @ exact
    assert found.after == pytest.approx(float(left.square().sum() / torch.cat(y).square().sum()))
    assert found.before == pytest.approx(1.0)


def test_it_stops_where_the_judging_batch_gains_nothing_more() -> None:
    x, y = problem(2)
    function: Callable[[int, Sequence[torch.Tensor]], torch.Tensor] = lambda b, v: x[b] @ v[0]  # noqa: E731
    start = [torch.zeros(5, 2, dtype=torch.float64)]
    full = least_squares(function, start, y[:1], judges=0, steps=50).values
    judged = least_squares(function, start, y, judges=1, steps=50)
    error = float((y[1] - x[1] @ judged.values[0]).square().sum() / y[1].square().sum())
    assert judged.after == pytest.approx(error)
    assert judged.after <= judged.before
    assert error < float((y[1] - x[1] @ full[0]).square().sum() / y[1].square().sum())


def test_targets_that_are_met_change_nothing() -> None:
    x, _ = problem()
    start = [torch.ones(5, 2, dtype=torch.float64)]
    targets = [rows @ start[0] for rows in x]
    found = least_squares(lambda b, v: x[b] @ v[0], start, targets, judges=1, steps=5)
    assert torch.equal(found.values[0], start[0])
    assert found.before == found.after == 0


def test_targets_of_zero_are_fitted_too() -> None:
    x, y = problem()
    zeros = [torch.zeros_like(t) for t in y]
    start = [torch.ones(5, 2, dtype=torch.float64)]
    found = least_squares(lambda b, v: x[b] @ v[0], start, zeros, judges=0, steps=50)
    torch.testing.assert_close(found.values[0], torch.zeros_like(start[0]))


KERNEL = torch.randn(4, 3, 3, 3)
IMAGE = torch.randn(2, 3, 6, 6)
FUNCTIONS: dict[str, tuple[Callable[[Tensors], torch.Tensor], bool]] = {
    "convolution": (lambda v: F.conv2d(IMAGE, v[0]), True),
    "convolution and shift": (lambda v: F.conv2d(IMAGE, v[0]) + 3, True),
    "relu": (lambda v: F.relu(F.conv2d(IMAGE, v[0])), False),
    "square": (lambda v: v[0] * v[0], False),
    "softmax": (lambda v: v[0].softmax(1), False),
    "rounded": (lambda v: v[0].round().long(), False),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_affine_is_told_from_what_is_not(name: str) -> None:
    function, wanted = FUNCTIONS[name]
    assert is_affine(function, [KERNEL]) is wanted
