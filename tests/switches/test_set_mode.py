"""train() and eval() of an exported graph behave like the model's own."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.graph.graphmodule import TrainableGraphModule, frozen
from graphprune.passes.set_mode import SetMode


def graph_of(model: nn.Module, *args: torch.Tensor) -> TrainableGraphModule:
    return capture(model, args).module


def test_batch_norm_trains_as_the_original_does() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    graph = graph_of(model, torch.randn(2, 2, 6, 6))
    before = graph.get_buffer("1.running_mean").clone()
    model.train()
    graph.train()
    for _ in range(2):
        x = torch.randn(3, 2, 6, 6)
        torch.testing.assert_close(graph(x), model(x))
    assert not torch.equal(graph.get_buffer("1.running_mean"), before)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(graph.get_buffer(name), buffer)
    assert graph.get_buffer("1.num_batches_tracked").item() == 2
    model.eval()
    graph.eval()
    torch.testing.assert_close(graph(x), model(x))
    assert graph.get_buffer("1.num_batches_tracked").item() == 2


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.AlphaDropout(0.5), nn.RReLU()]
)
def test_random_layers_act_in_training_alone(layer: nn.Module) -> None:
    graph = graph_of(nn.Sequential(nn.Linear(5, 5), layer), torch.randn(2, 4, 5))
    x = torch.randn(8, 4, 5)
    assert torch.equal(graph(x), graph(x))
    graph.train()
    assert not torch.equal(graph(x), graph(x))
    graph.eval()
    assert torch.equal(graph(x), graph(x))


@pytest.mark.parametrize("tracked", [True, False])
def test_instance_norm_uses_the_batch_when_the_original_does(tracked: bool) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, track_running_stats=tracked))
    graph = graph_of(model, torch.randn(2, 2, 6, 6))
    x = torch.randn(3, 2, 6, 6)
    for mode in (True, False, True):
        model.train(mode)
        graph.train(mode)
        torch.testing.assert_close(graph(x), model(x))


def test_what_the_model_fixes_stays_fixed() -> None:
    class MonteCarlo(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(x, 0.5, training=True)

    graph = graph_of(MonteCarlo(), torch.randn(2, 50))
    x = torch.ones(2, 50)
    for mode in (False, True, False):
        graph.train(mode)
        assert not torch.equal(graph(x), graph(x))


def test_statistics_only_leaves_dropout_off() -> None:
    graph = graph_of(nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)), torch.randn(2, 4))
    assert SetMode(training=True, statistics_only=True)(graph).modified  # type: ignore[union-attr]
    x = torch.randn(64, 4) + 3
    assert torch.equal(graph(x), graph(x))
    assert graph.get_buffer("0.running_mean").abs().min() > 0.1


def test_modified_is_honest_and_a_round_trip_restores_the_graph() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.1))
    graph = graph_of(model, torch.randn(2, 3))
    original = str(graph.graph)
    assert not SetMode(training=False)(graph).modified  # type: ignore[union-attr]
    for _ in range(3):
        assert SetMode(training=True)(graph).modified  # type: ignore[union-attr]
        assert not SetMode(training=True)(graph).modified  # type: ignore[union-attr]
        assert SetMode(training=False)(graph).modified  # type: ignore[union-attr]
        assert str(graph.graph) == original
    plain = graph_of(nn.Linear(3, 4), torch.randn(2, 3))
    assert not SetMode(training=True)(plain).modified  # type: ignore[union-attr]


def test_attention_dropout_of_a_training_graph_goes_and_comes_back() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            p = 0.5 if self.training else 0.0
            return F.scaled_dot_product_attention(x, x, x, dropout_p=p)

    model = Attention().train()
    exported = torch.export.export(model, (torch.randn(2, 4, 8),), strict=False)
    inner = exported.module(check_guards=False)
    graph = TrainableGraphModule(inner, inner.graph)
    graph.training = True
    x = torch.randn(2, 4, 8)
    assert not torch.equal(graph(x), graph(x))
    assert torch.equal(graph.eval()(x), graph(x))
    graph.train()
    assert not torch.equal(graph(x), graph(x))


def test_copies_keep_mode_names_and_persistence() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.register_buffer("table", torch.randn(3), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            table: torch.Tensor = self.table
            return self.norm(x) + table

    graph = graph_of(Model(), torch.randn(2, 3))
    twin = copy.deepcopy(graph)
    assert set(twin.state_dict()) == set(graph.state_dict())
    twin.train()
    assert twin.training
    assert not graph.training
    assert copy.deepcopy(twin).training
    twin(torch.randn(8, 3) + 5)
    assert twin.get_buffer("norm.running_mean").abs().max() > 0.1
    assert graph.get_buffer("norm.running_mean").abs().max() == 0


def test_a_frozen_copy_shares_weights_and_nothing_else() -> None:
    graph = graph_of(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), torch.randn(2, 3))
    twin = frozen(graph)
    assert not any(p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad for p in graph.parameters())
    assert twin.get_parameter("0.weight").data_ptr() == graph.get_parameter("0.weight").data_ptr()
    twin.train()(torch.randn(8, 3))
    assert graph.get_buffer("1.num_batches_tracked").item() == 0
    assert set(twin.state_dict()) == set(graph.state_dict())


def test_a_graph_exported_in_training_mode_can_be_set_to_evaluation() -> None:
    model = nn.Sequential(
        nn.BatchNorm1d(4), nn.Dropout(0.5), nn.BatchNorm1d(4, track_running_stats=False)
    ).train()
    exported = torch.export.export(model, (torch.randn(8, 4),), strict=False)
    inner = exported.module(check_guards=False)
    graph = TrainableGraphModule(inner, inner.graph)
    graph.training = True
    graph.eval()
    x = torch.randn(8, 4)
    torch.testing.assert_close(graph(x), model.eval()(x))
    assert graph.get_buffer("0.num_batches_tracked").item() == 0
