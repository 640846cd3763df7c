"""The distance to the original weighs all data alike, however they are cut into batches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from graphprune import CompressConfig, LearnConfig, SearchConfig, analyse, capture, compress, search
from graphprune.compressed import Compressed
from graphprune.criteria.fisher import Fisher
from graphprune.errors import DataError
from graphprune.importance.learn import learn_switches
from graphprune.importance.scoring import score_channels
from graphprune.io.loss import reproduce
from graphprune.switches.dirichlet import Dirichlet
from graphprune.switches.placement import switch_sites
from graphprune.training.devices import Batch
from graphprune.training.distance import SURVEYED, Distance, scales_of
from graphprune.training.evaluate import evaluate
from graphprune.training.finetune import FinetuneConfig


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


CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 5, 64])
def test_scales_are_those_of_the_first_batches_together(size: int) -> None:
    torch.manual_seed(3)
    model, x = TwoAnswers().eval(), inputs(400)
    captured, state = capture(model, x[:2]), torch.get_rng_state()
    found = scales_of(captured, cut_into(x, size), CPU)
    assert torch.equal(torch.get_rng_state(), state)
    read = math.ceil(SURVEYED / size) * size
    with torch.no_grad():
        answers = model(x[:read])
    expected = [float(answers[name].var(correction=0)) for name in ("near", "far")]
    assert found == pytest.approx((*expected, 9.0), rel=1e-4)
    assert scales_of(captured, cut_into(0 * x[:3], 1), CPU)[2] == 9.0


def test_with_scales_batches_weigh_alike() -> None:
    ours, theirs = inputs(40), inputs(40, 1)
    scale = float(theirs.var(correction=0))
    parts = zip(ours.split(1), theirs.split(1), strict=True)
    found = [float(reproduce(one, other, (scale,))) for one, other in parts]
    assert sum(found) / 40 == pytest.approx(float(reproduce(ours, theirs)), rel=1e-5)
    with pytest.raises(DataError, match="1 floating tensors for one batch and 2 for another"):
        reproduce(ours, theirs, (1.0, 1.0))


def test_switches_learn_by_one_scale() -> None:
    model, x = regression(), inputs(60)
    captured = capture(model, x[:2])
    sites, data = switch_sites(analyse(captured.module)), cut_into(x, 1)
    with torch.no_grad():
        scale = float(model(x).var(correction=0))

    def relative(output: object, target: object) -> torch.Tensor:
        assert isinstance(output, torch.Tensor)
        assert isinstance(target, torch.Tensor)
        return (output - target).square().mean() / scale

    ways = LearnConfig(epochs=1, halves=False)
    kind = Dirichlet(variant="implicit")
    found, expected = (
        [
            step["loss"]
            for step in learn_switches(captured, sites, data, kind, config=ways, loss=loss).history
        ]
        for loss in (None, relative)
    )
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_criteria_weigh_examples_by_one_scale() -> None:
    """Of one output a projection is the output with a sign, which squares do not have."""
    x = inputs(64)
    captured = capture(regression(), x[:2])
    analysis, ways = analyse(captured.module), LearnConfig()
    found = [
        score_channels(captured, analysis, Fisher(), cut_into(x, size), learn=ways, intervals=False)
        for size in (1, 64)
    ]
    (one,), (whole,) = (scores.by_group.values() for scores in found)
    torch.testing.assert_close(one / one.sum(), whole / whole.sum(), rtol=1e-3, atol=1e-6)


def test_fine_tuning_learns_by_one_scale() -> None:
    torch.manual_seed(3)
    model, x = Alone().eval(), inputs(300)
    still = CompressConfig(finetune=FinetuneConfig(lr=1e-12))
    given: dict[str, Any] = {"target": "macs=0.5", "method": "l2", "data": (x,)}
    found = compress(model, x[:1], finetune_epochs=1, config=still, **given)
    assert isinstance(found, Compressed)
    assert found.stages.finetuned is not None
    losses = [step["loss"] for step in found.stages.finetuned.history]
    with torch.no_grad():
        theirs, ours = (torch.cat([one(e) for e in x.split(1)]) for one in (model, found.model))
    whole = float((ours - theirs).square().mean() / theirs.var(correction=0))
    assert sum(losses) / len(losses) == pytest.approx(whole, rel=0.1)
