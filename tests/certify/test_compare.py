"""The compare helpers must fail wherever a wrong model could hide."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import CertificateError
from graphprune.proof.compare import (
    limit_for,
    max_relative_error,
    prove_equal,
    require_informative,
)

Pair = namedtuple("Pair", ["a", "b"])


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def test_known_errors() -> None:
    assert max_relative_error(_t(1.0, -2.0), _t(1.0, -2.0)) == 0
    assert max_relative_error(_t(1.0, -2.5), _t(1.0, -2.0)) == pytest.approx(0.25)
    # Each tensor has its own scale, or a small output would hide behind a large one.
    pair = {"large": _t(1e6), "small": _t(2e-3)}
    assert max_relative_error(pair, {"large": _t(1e6), "small": _t(1e-3)}) == pytest.approx(1.0)
    assert max_relative_error(torch.tensor([1j]), torch.tensor([2j])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("actual", "reference"),
    [
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (torch.tensor([True]), torch.tensor([False])),
        (_t(1e-30), _t(0.0)),
        ((_t(1.0), 3), (_t(1.0), 4)),
    ],
)
def test_no_tolerance_for_integers_constants_and_zero(actual: Any, reference: Any) -> None:
    assert max_relative_error(actual, reference) == float("inf")
    assert max_relative_error(reference, reference) == 0


@pytest.mark.parametrize(
    ("actual", "reference", "says"),
    [
        (_t(1.0, 1.0), _t(1.0), "2:float32"),
        (_t(1.0)[None], _t(1.0), "1x1:float32"),
        (_t(1.0).double(), _t(1.0), "float64"),
        ([_t(1.0)], [_t(1.0), _t(1.0)], "structured differently"),
        ({"a": _t(1.0)}, {"b": _t(1.0)}, "structured differently"),
        ([None], [_t(1.0)], "NoneType"),
        (_t(float("nan")), _t(1.0), "NaN"),
        (_t(1.0), _t(float("nan")), "NaN"),
        (_t(1.0, float("inf")), _t(1.0, 2.0), "infinite in one"),
        (_t(1.0, 2.0), _t(1.0, float("inf")), "infinite in one"),
        (_t(1.0, float("inf")), _t(1.0, -float("inf")), "infinite in one"),
        (3, 3, "no tensor"),
        ([], [], "no tensor"),
    ],
)
def test_refuses_what_cannot_be_compared(actual: Any, reference: Any, says: str) -> None:
    with pytest.raises(CertificateError, match=says):
        max_relative_error(actual, reference)


def test_container_classes_do_not_matter_but_places_do() -> None:
    assert max_relative_error(Pair(_t(1.0), _t(2.0)), (_t(1.0), _t(2.0))) == 0
    assert max_relative_error(Pair(_t(1.0), _t(2.0)), (_t(2.0), _t(1.0))) == pytest.approx(1.0)


@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    where=st.integers(0, 63),
    size=st.floats(2e-4, 10),
    seed=st.integers(0, 2**31),
)
def test_one_wrong_element_is_never_missed(
    shape: list[int], where: int, size: float, seed: int
) -> None:
    reference = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    wrong = reference.clone()
    wrong.view(-1)[where % wrong.numel()] += size * float(reference.abs().max())
    assert max_relative_error([wrong], [reference]) > 1e-4


def test_limits_follow_the_least_precise_dtype() -> None:
    assert limit_for([_t(1.0)]) == 1e-4
    assert limit_for([_t(1.0), torch.tensor(1)]) == 1e-4
    assert limit_for([torch.tensor(1)]) == 1e-4
    assert limit_for([_t(1.0).double()]) < 1e-4 < limit_for([_t(1.0), _t(1.0).half()])


_STILL = {
    "all": [{"x": _t(1.0)}, {"x": _t(1.0)}],
    "zero": [_t(0.0), _t(0.0)],
    "one of two": [(_t(1.0), _t(5.0)), (_t(2.0), _t(5.0))],
    "less than the limit": [_t(1.0), _t(1.00001)],
    "integers": [torch.tensor([3]), torch.tensor([3])],
    "one run": [_t(1.0)],
    "other shapes": [_t(1.0), _t(1.0, 2.0)],
}


@pytest.mark.parametrize("outputs", _STILL.values(), ids=_STILL.keys())
def test_refuses_outputs_that_prove_nothing(outputs: list[Any]) -> None:
    with pytest.raises(CertificateError):
        require_informative(outputs, 1e-4)


def test_accepts_outputs_that_vary() -> None:
    require_informative([_t(1.0), _t(1.0), _t(2.0)], 1e-4)
    # The class may be the same by chance, as long as the scores vary.
    require_informative([(_t(1.0), torch.tensor(3)), (_t(2.0), torch.tensor(3))], 1e-4)
    require_informative([torch.tensor([3]), torch.tensor([4])], 1e-4)


def test_only_outputs_that_no_input_reaches_may_be_constant() -> None:
    outputs = [(_t(1.0), _t(5.0)), (_t(2.0), _t(5.0))]
    require_informative(outputs, 1e-4, independent={1})
    with pytest.raises(CertificateError, match=r"output\[1\] does not vary"):
        require_informative(outputs, 1e-4, independent={0})
    with pytest.raises(CertificateError, match="no output depends"):
        require_informative(outputs, 1e-4, independent={0, 1})


def test_outputs_that_vary_little_are_proved_to_a_tenth_of_how_far_they_vary() -> None:
    expected = [_t(1.0), _t(1.00005)]  # by less than the limit of 1e-4
    assert prove_equal(expected, expected, 1e-4) == 0
    near = [_t(1.000002), _t(1.000052)]
    assert prove_equal(near, expected, 1e-4) == pytest.approx(2e-6, rel=0.1)
    ignores_its_input = [_t(1.0), _t(1.0)]
    far = [_t(1.00001), _t(1.00006)]
    for wrong in (ignores_its_input, far):
        with pytest.raises(CertificateError, match="does not vary"):
            prove_equal(wrong, expected, 1e-4)


def test_rounding_alone_proves_nothing() -> None:
    outputs = [_t(1.0), _t(1.0 + 2.0**-22)]
    with pytest.raises(CertificateError, match="does not vary"):
        prove_equal(outputs, outputs, 1e-4)


def test_an_error_above_the_limit_is_named() -> None:
    with pytest.raises(CertificateError, match=r"0\.5 exceeds the limit 0\.0001"):
        prove_equal([_t(1.0), _t(3.0)], [_t(1.0), _t(2.0)], 1e-4)
    with pytest.raises(CertificateError, match="does not vary"):
        prove_equal([_t(1.0), _t(3.0)], [_t(2.0), _t(2.0)], 1e-4)


@pytest.mark.parametrize(
    ("outputs", "informative"),
    [
        ([_t(1.0, 2.0), _t(1.0, 3.0, 4.0)], True),
        ([_t(1.0, 2.0), _t(1.0, 2.0, 4.0)], False),  # what both have is the same
        ([_t(1.0, 2.0), _t()], False),
        ([_t(1.0, 2.0), _t(), _t(5.0)], True),
        ([_t(1.0, 2.0), _t(1.0, 2.0).reshape(1, 2)], False),  # another rank says nothing
    ],
)
def test_outputs_of_sizes_that_the_data_decide_on(
    outputs: list[torch.Tensor], informative: bool
) -> None:
    if informative:
        require_informative(outputs, 1e-4)
    else:
        with pytest.raises(CertificateError):
            require_informative(outputs, 1e-4)
