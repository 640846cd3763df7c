"""What is asked of a page and cannot be had is said: examples and token grids."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graphprune.errors import DataError, UsageError
from graphprune.features import FeatureConfig, Features, draw_features


class Tokens(nn.Module):
    """(B, 9, 4) to (B, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.mix(x)).mean(1))


def features(examples: int = 1000, inputs: Any = None, **options: Any) -> Features:
    torch.manual_seed(0)
    config = FeatureConfig(channels=1, **options)
    x = torch.randn(examples, 9, 4)
    data = None if inputs is not None else (x, torch.arange(examples) % 3)
    return draw_features(Tokens(), x[:2], data, method="l2", inputs=inputs, config=config)


def test_as_many_examples_as_asked_for() -> None:
    found = features(count=70)
    assert len(found.inputs) == 70
    assert not found.notes


def test_fewer_examples_than_asked_for_are_said() -> None:
    assert "asked for 70 examples, found 10" in features(100, count=70).notes
    assert "asked for 3 examples, found 1" in (features(inputs=torch.randn(1, 9, 4), count=3).notes)
    assert not features(inputs=torch.randn(1, 9, 4)).notes, "of a number that nobody asked for"


def test_a_batch_without_examples_is_refused() -> None:
    with pytest.raises(DataError, match="hold no examples"):
        features(inputs=torch.randn(0, 9, 4))


@pytest.mark.parametrize("grid", [(0, 3, 3), (1, 2, 4)])
def test_a_token_grid_that_fits_is_drawn(grid: tuple[int, int, int]) -> None:
    assert f"as a grid of {grid[1]} × {grid[2]}" in features(token_grid=grid).to_html()


def test_a_token_grid_that_fits_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"grid 0\+2x2 is for rows of 4 positions.* have 9; write"):
        features(token_grid=(0, 2, 2))
    with pytest.raises(UsageError, match=r"have 9; write EXTRA\+HEIGHTxWIDTH .*such as 0\+3x3"):
        features(token_grid=(1, 3, 3))


def test_where_there_are_no_rows_what_there_is_is_said() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    config = FeatureConfig(channels=1, token_grid=(0, 3, 3))
    with pytest.raises(UsageError, match=r"are maps of two dimensions, .* leave the grid out"):
        draw_features(model, torch.randn(2, 1, 8, 8), inputs=torch.randn(2, 1, 8, 8), config=config)
