"""Labels of -100 count nowhere: as if their examples were not there."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune import CompressConfig, analyse, capture, compress
from graphprune.criteria.fisher import Fisher
from graphprune.criteria.obd import OptimalBrainDamage
from graphprune.criteria.taylor import Taylor
from graphprune.errors import DataError
from graphprune.importance.learn import LearnConfig, learn_switches
from graphprune.importance.scoring import score_channels
from graphprune.switches.placement import switch_sites
from graphprune.training.evaluate import evaluate
from graphprune.training.finetune import FinetuneConfig, finetune
from graphprune.training.objective import Objective

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def tagger() -> nn.Module:
    """Tokens (N, T, 4) to scores (N, T, 3)."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def batches(*sizes: int, dtype: torch.dtype = torch.int64) -> Batches:
    generator = torch.Generator().manual_seed(1)
    found = []
    for size in sizes:
        x = torch.randn(size, 5, 4, generator=generator)
        found.append((x, torch.randint(0, 3, (size, 5), generator=generator).to(dtype)))
    return found


def without_labels(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(size, 5, 4), torch.full((size, 5), -100)


def test_figures_are_means_over_the_labels_that_count() -> None:
    model, data = tagger().requires_grad_(False), batches(3, 2)
    data[0][1][:, 1:] = -100
    data[1][1][0] = -100
    found = evaluate(model, [*data, without_labels(4)])
    scores = torch.cat([model(x).flatten(0, 1) for x, _ in data])
    labels = torch.cat([y.flatten() for _, y in data])
    known = labels != -100
    right = (scores.argmax(1) == labels)[known].float().mean()
    assert found["accuracy"] == pytest.approx(float(right))
    assert found["loss"] == pytest.approx(float(F.cross_entropy(scores, labels)))


def test_labels_of_a_byte_that_look_like_it_count() -> None:
    x = torch.randn(4, 200)
    x[:, 156] = 9.0
    labels = torch.full((4,), 156, dtype=torch.uint8)
    assert evaluate(nn.Identity(), [(x, labels)])["accuracy"] == 1


def test_probabilities_all_count() -> None:
    model, (batch, small) = tagger().requires_grad_(False), batches(3, 1)
    data = [(x, torch.rand(len(x), 5, 3).softmax(1)) for x, _ in (batch, small)]
    losses = [float(F.cross_entropy(model(x), y)) for x, y in data]
    found = evaluate(model, data)
    assert found == {"loss": pytest.approx((3 * losses[0] + losses[1]) / 4)}


def test_a_whole_without_labels_is_an_error() -> None:
    with pytest.raises(DataError, match="no label of the held-out data counts: all are -100"):
        evaluate(tagger(), [without_labels(4)])
    x, y = without_labels(40)
    with pytest.raises(DataError, match="no label of the data counts"):
        compress(tagger(), x[:2], data=(x, y))


@pytest.mark.parametrize("criterion", [Taylor(), Fisher(), OptimalBrainDamage()])
def test_criteria_leave_such_a_batch_out(criterion: Any) -> None:
    captured = capture(tagger(), torch.randn(2, 5, 4))
    analysis, data = analyse(captured.module), batches(4, 4)

    def scores(given: Batches) -> torch.Tensor:
        found = score_channels(captured, analysis, criterion, given, learn=LearnConfig())
        return next(iter(found.by_group.values()))

    torch.testing.assert_close(scores([*data, without_labels(4)]), scores(data))
    with pytest.raises(DataError, match=f"no label of the data for method {criterion.name}"):
        scores([without_labels(4)])


def test_switches_learn_from_what_is_left() -> None:
    captured = capture(tagger(), torch.randn(2, 5, 4))
    sites = switch_sites(analyse(captured.module))
    config = LearnConfig(epochs=2)
    found = learn_switches(captured, sites, [*batches(4, 4), without_labels(4)], config=config)
    assert all(math.isfinite(step["loss"]) for step in found.history)
    assert found.history[2]["loss"] == 0
    with pytest.raises(DataError, match="no label of the training data counts"):
        learn_switches(captured, sites, [without_labels(4)], config=config)


def test_fine_tuning_learns_from_what_is_left() -> None:
    model = tagger()
    result = finetune(model, [*batches(4, 4), without_labels(4)], FinetuneConfig(epochs=2))
    assert all(math.isfinite(step["loss"]) for step in result.history)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    with pytest.raises(DataError, match="no label of the training data counts"):
        finetune(tagger(), [without_labels(4)])


def test_distillation_learns_from_what_is_left() -> None:
    """Whatever the teacher answers where no label counts, as to padding, changes nothing."""
    objective = Objective(teacher=tagger())
    x, y = batches(3)[0]
    y[:, 4:] = -100
    blown = torch.where((y == -100)[..., None], 9 * torch.randn(3, 5, 4), x)
    student = nn.Linear(4, 3)
    expected = objective(student(x[:, :4]), (x[:, :4],), y[:, :4])
    for inputs in (x, blown):
        found = objective(student(inputs), (inputs,), y)
        torch.testing.assert_close(found, expected)
    x, y = without_labels(2)
    assert objective(student(x), (x,), y)["loss"] == 0
    with pytest.raises(DataError, match="no label of the training data counts"):
        finetune(tagger(), [(x, y)], objective=objective)


def test_compress_with_a_held_out_batch_without_labels() -> None:
    (x, y), (held_x, held_y) = batches(64, 9)
    held_y[8] = -100
    train = torch.utils.data.TensorDataset(x, y)
    held = torch.utils.data.TensorDataset(held_x, held_y)
    config = CompressConfig(batch_size=8, learn=LearnConfig(max_steps=8))
    result = compress(
        tagger(), x[:2], data=(train, held), finetune_epochs=1, config=config, target="channels=0.5"
    )
    for figures in result.stages.evaluations.values():  # type: ignore[union-attr]
        assert math.isfinite(figures["loss"])
