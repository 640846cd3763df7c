"""Random numbers of two runs that are compared: alike, whatever the layout of the memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from graphprune.graph.chance import same_chance

DRAWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "bernoulli": lambda x: torch.bernoulli(torch.full_like(x, 0.5)),
    "normal_": lambda x: x.clone().normal_(),
    "uniform_": lambda x: x.clone().uniform_(2, 3),
    "dropout": lambda x: torch.nn.functional.dropout(x, 0.5),
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_do_not_depend_on_the_layout_of_the_memory(name: str) -> None:
    rows = torch.ones(2, 3, 4, 4)
    channels_last = rows.to(memory_format=torch.channels_last)
    with same_chance():
        expected = DRAWS[name](rows)
    with same_chance():
        found = DRAWS[name](channels_last)
    assert torch.equal(found, expected)
    assert expected.unique().numel() > 1


def test_what_is_drawn_in_place_is_in_the_tensor_itself() -> None:
    x = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    with same_chance():
        returned = x.normal_()
    assert returned is x
    assert float(x.abs().min()) > 0


def test_random_numbers_outside_go_on_where_they_were() -> None:
    torch.manual_seed(5)
    torch.rand(1)
    expected = torch.rand(3)
    torch.manual_seed(5)
    torch.rand(1)
    with same_chance():
        torch.rand(7)
    assert torch.equal(torch.rand(3), expected)


def test_compiled_functions_run_beneath_it() -> None:
    double = torch.compile(lambda x: 2 * x, backend="eager", fullgraph=True)
    with same_chance():
        assert torch.equal(double(torch.ones(3)), torch.full((3,), 2.0))
