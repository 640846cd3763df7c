"""Example inputs from shapes, and inputs checked against a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune.errors import DataError, UsageError
from graphprune.io import check_inputs_fit, parse_input_shapes


@pytest.mark.parametrize(
    ("spec", "shape", "dtype"),
    [
        ("1x3x8x8", (1, 3, 8, 8), torch.float32),
        ("5", (5,), torch.float32),
        (" 2x4 ", (2, 4), torch.float32),
        ("2x16:int64", (2, 16), torch.int64),
        ("2x16:int", (2, 16), torch.int64),
        ("2x4:bfloat16", (2, 4), torch.bfloat16),
        ("2x4:bool", (2, 4), torch.bool),
        ("2x4:uint8,0..256", (2, 4), torch.uint8),
        ("2x4:int32,-5..-3", (2, 4), torch.int32),
    ],
)
def test_shapes(spec: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    (tensor,) = parse_input_shapes([spec])
    assert tuple(tensor.shape) == shape
    assert tensor.dtype == dtype


def test_values_follow_range_and_seed() -> None:
    wide, narrow = parse_input_shapes(["400:int64,10..13", "400:int64"])
    assert set(wide.tolist()) == {10, 11, 12}
    assert set(narrow.tolist()) == {0, 1}
    first, again = parse_input_shapes(["2x3", "4"]), parse_input_shapes(["2x3", "4"])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], parse_input_shapes(["2x3"], seed=1)[0])
    assert bool(parse_input_shapes(["3:bool"])[0].all())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "expected SHAPE"),
        ("1,3,224,224", "expected SHAPE"),
        ("1x", "expected SHAPE"),
        ("1x-3", "expected SHAPE"),
        ("1x3\n:float32", "expected SHAPE"),
        ("axb", "expected SHAPE"),
        ("1x0", "size of 0"),
        ("99999x99999", "2^31"),
        ("2:int65", "no dtype 'int65'"),
        ("2:float32,0..3", "range is for integers"),
        ("2,0..3", "range is for integers"),
        ("2:int64,3..3", "no range"),
        ("2:uint8,0..257", "no range of uint8"),
        ("2:int64,0..99999999999999999999", "no range"),
    ],
)
def test_bad_shapes(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_input_shapes([spec])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))


def test_fitting_inputs_run_without_a_trace() -> None:
    network = model().train()
    network[2].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    output = check_inputs_fit(network, (torch.randn(2, 3, 8, 8),))
    assert output.shape == (2, 4, 6, 6)
    assert not output.requires_grad
    assert [module.training for module in network.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


EXPECTED = ((torch.zeros(2, 3, 8, 8),), {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((torch.zeros(5, 8, 8, 3),), "input 0: expected Nx3x8x8:float32, got 5x8x8x3:float32"),
        ((torch.zeros(5, 3, 8),), "expected Nx3x8x8:float32, got 5x3x8:float32"),
        ((torch.zeros(5, 3, 8, 8, dtype=torch.float64),), "got 5x3x8x8:float64"),
        ((torch.zeros(5, 3, 8, 8, dtype=torch.uint8),), "got 5x3x8x8:uint8"),
        ((torch.zeros(2, 3, 8, 8), torch.zeros(2)), "takes 1 input tensors, but 2"),
        ((torch.full((2, 3, 8, 8), float("nan")),), "NaN or infinite"),
    ],
)
def test_inputs_that_do_not_fit(given: tuple[torch.Tensor, ...], message: str) -> None:
    with pytest.raises(DataError) as caught:
        check_inputs_fit(model(), given, expected=EXPECTED)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_batch_size_fits() -> None:
    assert len(check_inputs_fit(model(), (torch.zeros(7, 3, 8, 8),), expected=EXPECTED)) == 7
    with pytest.raises(DataError, match="expected 2x3x8x8"):
        check_inputs_fit(model(), (torch.zeros(7, 3, 8, 8),), expected=EXPECTED, batch_dim=None)


def test_models_own_error_is_told_on_one_line() -> None:
    network = model().train()
    with pytest.raises(DataError, match="does not run on the inputs given") as caught:
        check_inputs_fit(network, (torch.zeros(2, 5, 8, 8),))
    assert "2x5x8x8:float32" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert network.training
