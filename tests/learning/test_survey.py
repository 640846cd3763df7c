"""Data that can be read only once, loaders that draw seeds, inputs that are single numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from planted import planted_plain
from torch import nn
from torch.utils.data import DataLoader

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.errors import DataError
from graphprune.importance.learn import LearnConfig, learn_switches
from graphprune.importance.scoring import score_channels
from graphprune.importance.survey import survey
from graphprune.switches.placement import switch_sites
from graphprune.training.feed import count_examples


class WornOut:
    """Batches that are handed out for so many passes; later ones find none."""

    def __init__(self, data: list[Any], passes: int) -> None:
        self.data, self.passes = data, passes

    def __iter__(self) -> Iterator[Any]:
        self.passes -= 1
        return iter(self.data if self.passes >= 0 else [])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_generator_of_any_length_is_refused(count: int) -> None:
    planted = planted_plain()
    batches = (batch for batch in planted.data[:count])
    with pytest.raises(DataError, match="can be read only once; give a DataLoader or a list"):
        score_channels(
            planted.captured, planted.analysis, "dirichlet", batches, learn=LearnConfig()
        )


@pytest.mark.parametrize("passes", [1, 2, 3, 4])
def test_a_pass_that_finds_nothing_is_an_error(passes: int) -> None:
    planted = planted_plain()
    sites = switch_sites(planted.analysis)
    with pytest.raises(DataError, match="can be read only once"):
        learn_switches(planted.captured, sites, WornOut([*planted.data], passes))


@pytest.mark.parametrize("method", ["dirichlet", "l0", "taylor", "fisher", "obd"])
def test_the_random_state_of_the_caller_stays(method: str) -> None:
    planted = planted_plain()
    pairs = [
        pair for (inputs,), target in planted.data for pair in zip(inputs, target, strict=True)
    ]
    data = DataLoader(pairs, batch_size=16, shuffle=True)  # type: ignore[arg-type]
    before = torch.get_rng_state()
    learn = LearnConfig(epochs=1)
    score_channels(planted.captured, planted.analysis, method, data, learn=learn)
    assert torch.equal(torch.get_rng_state(), before)


class Scaled(nn.Module):
    """A single number, and then the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, scale: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.relu(self.hidden(x * scale)))


@pytest.mark.parametrize("method", ["dirichlet", "taylor", "fisher"])
def test_a_first_input_without_a_batch_is_not_counted_by(method: str) -> None:
    torch.manual_seed(0)
    scale = torch.tensor(1.0)
    captured = capture(Scaled().eval(), (scale, torch.randn(16, 8)))
    data = [((scale, torch.randn(16, 8)), torch.randint(0, 3, (16,))) for _ in range(3)]
    assert survey(captured, data) == (True, 3, 48)
    learn = LearnConfig(epochs=1)
    scores = score_channels(captured, analyse(captured.module), method, data, learn=learn)
    assert scores.by_group["hidden.weight"].shape == (16,)


def test_examples_are_counted_along_the_batch() -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(6, 8), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(x)[0].mean(0))

    captured = capture(TimeFirst().eval(), torch.randn(5, 3, 6))
    inputs = ((torch.randn(5, 16, 6),), {})
    wanted = count_examples(captured, inputs)
    assert survey(captured, [(inputs[0], None)] * 4) == (False, 4, 4 * wanted)


def test_inputs_of_single_numbers_alone_are_refused() -> None:
    planted = planted_plain()
    with pytest.raises(DataError, match=r"how many examples .* give them a batch dimension"):
        count_examples(planted.captured, ((torch.tensor(1.0),), {}))
