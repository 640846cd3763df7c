"""The distance to judge by is that over all data, however they are cut into batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from graphprune import CompressConfig, SearchConfig, compress, search
from graphprune.compressed import Compressed
from graphprune.errors import DataError
from graphprune.io.loss import reproduce
from graphprune.training.devices import Batch
from graphprune.training.distance import Distance
from graphprune.training.evaluate import evaluate


class Alone(nn.Module):
    """One number for one example: the batch size is fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(torch.relu(self.first(x.view(1, 6)))).view(1)
        return found


class TwoAnswers(nn.Module):
    """Outputs of different scales, one of them constant."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        ones = torch.full((len(x), 1), 3.0)
        return {"near": self.near(x), "far": 1e4 * self.far(x), "same": ones}


def regression() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)).eval()


def inputs(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def cut_into(x: torch.Tensor, size: int) -> list[Batch]:
    return [(part, None) for part in x.split(size)]


def moved_a_little(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("kind", [regression, TwoAnswers])
@pytest.mark.parametrize("size", [1, 2, 7, 32, 64])
def test_the_distance_does_not_depend_on_the_batches(kind: type[nn.Module], size: int) -> None:
    torch.manual_seed(3)
    teacher = kind().eval()
    torch.manual_seed(3)
    model, x = moved_a_little(kind().eval(), 1), inputs(65)
    found = evaluate(model, cut_into(x, size), teacher=teacher)
    with torch.no_grad():
        whole = float(reproduce(model(x), teacher(x)))
    assert whole > 1e-3
    assert found == {"distance": pytest.approx(whole, rel=1e-4)}


def test_rounding_does_not_show_where_the_mean_is_large() -> None:
    torch.manual_seed(0)
    theirs = 1e4 + torch.randn(300, 1, dtype=torch.float64)
    ours = theirs + torch.randn(300, 1, dtype=torch.float64)
    expected = float((ours - theirs).square().mean() / theirs.var(correction=0))
    found = Distance()
    for one, other in zip(ours, theirs, strict=True):
        found.add(one, other)
    assert found.value() == pytest.approx(expected, rel=1e-9)


def test_what_the_original_leaves_open_does_not_count() -> None:
    theirs = torch.tensor([[1.0, -math.inf], [math.nan, 3.0], [math.inf, math.inf]])
    ours = torch.tensor([[2.0, 7.0], [7.0, 3.0], [7.0, 7.0]])
    found = Distance()
    for one, other in zip(ours, theirs, strict=True):
        found.add(one, other)
    assert found.value() == pytest.approx(0.5)
    found.add(torch.full((2,), math.nan), torch.ones(2))
    assert math.isnan(found.value())


def test_large_outputs_are_summed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = inputs(40), inputs(40, 1)
    monkeypatch.setattr("graphprune.training.distance._PIECE", 7)
    found = Distance()
    found.add(ours, theirs)
    assert found.value() == pytest.approx(float(reproduce(ours, theirs)))


def test_outputs_that_do_not_match_are_refused() -> None:
    found = Distance()
    with pytest.raises(DataError, match="outputs do not match"):
        found.add(torch.ones(2), torch.ones(3))
    found.add(torch.ones(2), torch.ones(2))
    with pytest.raises(DataError, match="2 floating tensors for one batch and 1 for another"):
        found.add([torch.ones(2)] * 2, [torch.ones(2)] * 2)


def test_a_model_of_one_example_and_one_number_is_judged_over_all_data() -> None:
    torch.manual_seed(3)
    model, x = Alone().eval(), inputs(300)
    found = compress(model, x[:1], target="macs=0.5", method="l2", data=(x,))
    assert isinstance(found, Compressed)
    assert found.stages.held_out is not None
    held = [batch for batch, _ in found.stages.held_out]
    with torch.no_grad():
        theirs = torch.cat([model(*one) for one in held])
        ours = torch.cat([found.model(*one) for one in held])
    pooled = float((ours - theirs).square().mean() / theirs.var(correction=0))
    assert found.stages.evaluations["pruned"]["distance"] == pytest.approx(pooled, rel=1e-4)


def test_a_search_orders_by_what_does_not_depend_on_the_batches() -> None:
    """650 examples leave a last batch of one, whose own variance is none."""
    x, best = inputs(650, 3), []
    for size in (64, 65):
        config = SearchConfig(trials=5, compress=CompressConfig(batch_size=size))
        found = search(
            regression(), x[:2], target="macs=0.4", method="l2", data=(x,), config=config
        )
        best.append([row.loss for row in found.stages.trials])
    assert best[0] == pytest.approx(best[1], rel=1e-4)
