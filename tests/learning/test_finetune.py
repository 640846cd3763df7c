"""Fine-tuning, distillation and batch norm statistics."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.errors import DataError, TrainingError, UsageError
from graphprune.graph.graphmodule import TrainableGraphModule, frozen
from graphprune.training.finetune import FinetuneConfig, finetune
from graphprune.training.objective import Objective, soft_cross_entropy
from graphprune.training.recalibrate import recalibrate_batchnorm

Data = list[tuple[tuple[torch.Tensor, ...], torch.Tensor | None]]


@pytest.fixture
def graph() -> TrainableGraphModule:
    model = nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3)
    )
    return capture(model, torch.randn(2, 4)).module


@pytest.fixture
def data() -> Data:
    x = torch.randn(128, 4) * 2 + 1
    y = x[:, :3].argmax(1)
    return [((x[i : i + 32],), y[i : i + 32]) for i in range(0, 128, 32)]


def accuracy(module: nn.Module, data: Data) -> float:
    right = [(module(*x).argmax(1) == y).float().mean() for x, y in data]
    return torch.stack(right).mean().item()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_learns_from_labels(graph: TrainableGraphModule, data: Data, optimizer: str) -> None:
    before = accuracy(graph, data)
    config = FinetuneConfig(epochs=30, optimizer=optimizer, lr=0.05)  # type: ignore[arg-type]
    result = finetune(graph, data, config)
    assert len(result.history) == 120
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]
    assert accuracy(graph, data) > max(0.9, before)
    assert not graph.training
    assert graph.get_buffer("1.num_batches_tracked").item() == 120
    assert result.best_epoch is None


def test_learns_the_teacher_without_labels(graph: TrainableGraphModule, data: Data) -> None:
    teacher = copy.deepcopy(graph)
    for parameter in graph.parameters():
        nn.init.normal_(parameter, std=0.3)
    teacher.train()
    state = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    blank: Data = [(x, None) for x, _ in data]
    result = finetune(graph, blank, FinetuneConfig(epochs=40), Objective(teacher=teacher))
    assert result.history[-1]["loss"] < 0.3 * result.history[0]["loss"]
    assert teacher.training
    assert all(torch.equal(state[n], t) for n, t in teacher.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())


def test_labels_and_teacher_are_weighed(graph: TrainableGraphModule, data: Data) -> None:
    result = finetune(
        graph,
        data,
        FinetuneConfig(max_steps=2),
        Objective(teacher=copy.deepcopy(graph), distill_weight=0.25),
    )
    for step in result.history:
        expected = 0.75 * step["task"] + 0.25 * step["distillation"]
        assert step["loss"] == pytest.approx(expected, rel=1e-5)


def test_soft_cross_entropy_against_probabilities() -> None:
    scores, reference = torch.randn(5, 3), torch.randn(5, 3)
    p, q = (reference / 2).softmax(1), (scores / 2).softmax(1)
    expected = 4 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(soft_cross_entropy(scores, reference, 2.0), expected)
    assert soft_cross_entropy(scores, scores, 2.0).abs() < 1e-6


def test_keeps_the_best_weights(graph: TrainableGraphModule, data: Data) -> None:
    values = iter([0.1, 0.7, 0.3, 0.7, 0.2])
    states: list[torch.Tensor] = []

    def evaluate(module: nn.Module) -> float:
        assert not module.training
        states.append(module.get_parameter("0.weight").detach().clone())
        return next(values)

    result = finetune(graph, data, FinetuneConfig(epochs=4), evaluate=evaluate)
    assert result.evaluations == [0.1, 0.7, 0.3, 0.7, 0.2]
    assert result.best_epoch == 3
    assert torch.equal(graph.get_parameter("0.weight"), states[3])
    assert not torch.equal(states[3], states[4])


def test_rate_rises_and_falls_and_decay_spares_vectors(
    graph: TrainableGraphModule, data: Data
) -> None:
    def still(output: object, target: object) -> torch.Tensor:
        assert isinstance(output, torch.Tensor)
        return output.sum() * 0

    before = {n: p.detach().clone() for n, p in graph.named_parameters()}
    finetune(graph, data, FinetuneConfig(weight_decay=0.1, lr=0.1), Objective(loss=still))
    for name, parameter in graph.named_parameters():
        if parameter.ndim > 1:
            assert parameter.norm() < 0.999 * before[name].norm()
        else:
            assert torch.equal(parameter, before[name])


def test_augmentation_is_seeded_and_shown_to_model_and_teacher(
    graph: TrainableGraphModule, data: Data
) -> None:
    seen: list[torch.Tensor] = []

    class Watching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen_by_teacher.append(x.clone())
            return x[:, :3]

    seen_by_teacher: list[torch.Tensor] = []

    def augment(inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        seen.append(inputs[0] + torch.randn_like(inputs[0]))
        return (seen[-1],)

    config = FinetuneConfig(augment=augment, seed=3)
    state = torch.get_rng_state()
    teacher = Watching()
    finetune(copy.deepcopy(graph), data, config, Objective(teacher=teacher))
    first = [x.clone() for x in seen]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, seen_by_teacher, strict=True))
    seen.clear()
    finetune(copy.deepcopy(graph), data, config, Objective(teacher=teacher))
    assert all(torch.equal(a, b) for a, b in zip(first, seen, strict=True))


def test_a_plain_module_is_trained_too(data: Data) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    result = finetune(model, data, FinetuneConfig(epochs=20, lr=0.1))
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]


def test_what_cannot_be_trained_is_refused(graph: TrainableGraphModule, data: Data) -> None:
    with pytest.raises(DataError, match="no data"):
        finetune(graph, [])
    with pytest.raises(DataError, match="nothing to learn"):
        finetune(graph, [(x, None) for x, _ in data])
    nan: Data = [((x[0] * float("nan"),), y) for x, y in data]
    with pytest.raises(TrainingError, match="step 1"):
        finetune(copy.deepcopy(graph), nan)
    with pytest.raises(UsageError, match="requires a gradient"):
        finetune(frozen(graph), data)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"max_steps": 0},
        {"optimizer": "lion"},
        {"lr": -1.0},
        {"warmup": 2.0},
        {"weight_decay": -1.0},
    ],
)
def test_bad_settings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        FinetuneConfig(**options)  # type: ignore[arg-type]


def test_recalibration_averages_the_statistics_of_the_batches(
    graph: TrainableGraphModule, data: Data
) -> None:
    text = str(graph.graph)
    weights = {n: p.detach().clone() for n, p in graph.named_parameters()}
    hidden = [F.linear(x, weights["0.weight"], weights["0.bias"]) for (x,), _ in data[:3]]
    assert recalibrate_batchnorm(graph, data, batches=3) == 3
    mean = torch.stack([h.mean(0) for h in hidden]).mean(0)
    variance = torch.stack([h.var(0) for h in hidden]).mean(0)
    torch.testing.assert_close(graph.get_buffer("1.running_mean"), mean)
    torch.testing.assert_close(graph.get_buffer("1.running_var"), variance)
    assert str(graph.graph) == text
    assert all(torch.equal(weights[n], p) for n, p in graph.named_parameters())
    x = torch.randn(4, 4)
    assert torch.equal(graph(x), graph(x))


def test_recalibration_without_statistics_or_data(graph: TrainableGraphModule) -> None:
    plain = capture(nn.Linear(3, 2), torch.randn(2, 3)).module
    assert recalibrate_batchnorm(plain, [((torch.randn(2, 3),), None)]) == 0
    text = str(graph.graph)
    with pytest.raises(DataError, match="no data"):
        recalibrate_batchnorm(graph, [])
    assert str(graph.graph) == text
