"""Where switches go: once behind each producer, after its affine, before the nonlinearity."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from engine_oracle import shrink
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.choosing.budget import choose
from graphprune.passes.insert_switches import InsertSwitches
from graphprune.switches.placement import switch_sites


def placed(model: nn.Module) -> dict[str, list[str]]:
    """By group, the nodes that are scaled."""
    analysis = analyse(capture(model, torch.randn(2, 3, 8, 8)).module)
    found: dict[str, list[str]] = {group.name: [] for group in analysis.groups}
    for site in switch_sites(analysis):
        found[site.group].append(site.node)
    return found


class Head(nn.Module):
    """Mean over space and a linear layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)))


def test_after_batch_norm_and_before_the_nonlinearity() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), Head(8))
    assert placed(model) == {"0.weight": ["batch_norm"]}


def test_straight_after_a_convolution_without_a_norm() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Head(8))
    assert placed(model) == {"0.weight": ["conv2d"]}


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.deep, self.deep_norm = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)
        self.head = Head(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x)).relu()
        return self.head(self.deep_norm(self.deep(x)).relu())


def test_a_depthwise_convolution_is_not_scaled_again() -> None:
    assert placed(Depthwise()) == {"conv.weight": ["batch_norm"]}


class Residual(nn.Module):
    """The stream's own channels are read and written by one dense convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = Head(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(torch.relu(x + self.norm(self.conv(x))))


def test_every_producer_of_a_residual_stream_is_scaled() -> None:
    assert placed(Residual()) == {"stem.weight": ["conv2d", "batch_norm"]}


def test_producers_of_one_group_share_one_vector() -> None:
    analysis = analyse(capture(Residual(), torch.randn(2, 3, 8, 8)).module)
    first, second = switch_sites(analysis)
    assert first.index.reshape(-1).tolist() == second.index.reshape(-1).tolist() == list(range(8))


class Transposed(nn.Module):
    """Weights that are computed: transposed, sliced out of a larger one, normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.packed = nn.Parameter(torch.rand(8, 6)), nn.Parameter(torch.rand(20, 8))
        self.normed, self.head = weight_norm(nn.Linear(7, 9)), nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x @ self.first.t()).relu()
        left, right = F.linear(x, self.packed[:7]), F.linear(x, self.packed[7:14])
        return self.head(self.normed((left * right).relu()).relu())


class Routed(nn.Module):
    """Weights that are looked up for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.rand(3, 8, 6)), nn.Parameter(torch.rand(3, 4, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        expert = x.sum(1).argmax(1) % 3
        hidden = (self.up[expert] @ x.transpose(1, 2)).relu()
        return (self.down[expert] @ hidden).mean(2)


class Cells(nn.Module):
    """A cell called step by step, and one that is written out."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.own, self.back = nn.LSTMCell(6, 8), nn.Linear(8, 7), nn.Linear(7, 7)
        self.head = nn.Linear(7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden, state = x.new_zeros(len(x), 8), x.new_zeros(len(x), 8)
        own = x.new_zeros(len(x), 7)
        for step in x.unbind(1):
            hidden, state = self.cell(step, (hidden, state))
            own = torch.tanh(self.own(hidden) + self.back(own))
        return self.head(own)


class Recurrent(nn.Module):
    """Two layers in two directions and a linear layer."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(6, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0].mean(1))


class Bags(nn.Module):
    """Means of rows of a table, and a table that a network makes of another one."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(20, 8), nn.Linear(8, 4)
        self.start = nn.Parameter(torch.rand(5))
        self.make = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bag((x[:, :, 0] * 9).long().abs() % 20)) + self.make(self.start)


@pytest.mark.parametrize(
    "model",
    [
        Transposed(),
        Routed(),
        Cells(),
        Recurrent(nn.LSTM),
        Recurrent(nn.GRU),
        Bags(),
        nn.MultiheadAttention(6, 2, batch_first=True),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_channel_is_scaled_somewhere(model: nn.Module) -> None:
    x = torch.randn(2, 5, 6)
    inputs = (x, x[:, :2], x[:, :2]) if isinstance(model, nn.MultiheadAttention) else (x,)
    analysis = analyse(capture(model.eval(), inputs).module)
    assert analysis.groups
    found: dict[str, set[int]] = {group.name: set() for group in analysis.groups}
    for site in switch_sites(analysis):
        found[site.group] |= set(site.index.reshape(-1).tolist()) - {-1}
    assert found == {group.name: set(range(group.size)) for group in analysis.groups}


class Fixed(nn.Module):
    """A switch with a scale of one's own choice."""

    per_example = False

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.size = scale.numel()
        self.register_buffer("scale", scale)

    def forward(self) -> torch.Tensor:
        return self.get_buffer("scale")


@pytest.mark.parametrize(
    "model",
    [Recurrent(nn.LSTM), Recurrent(nn.GRU), Recurrent(nn.RNN), Cells(), Routed()],
    ids=["LSTM", "GRU", "RNN", "Cells", "Routed"],
)
def test_switches_of_zeros_and_ones_are_the_cut(model: nn.Module) -> None:
    # Also what a unit tells the next step and the next layer, which no value of the graph shows.
    x = torch.randn(3, 5, 6)
    captured = capture(model.eval(), x)
    analysis = analyse(captured.module)
    scores = {group.name: torch.rand(group.size) for group in analysis.groups}
    plan = choose(analysis, scores, "channels=0.5", method="random").plan
    kept = plan.classes(analysis)
    switches = {g.name: Fixed(torch.from_numpy(kept[g.channels]).float()) for g in analysis.groups}
    switched = copy.deepcopy(captured.module)
    InsertSwitches(sites=switch_sites(analysis), switches=switches)(switched)
    torch.testing.assert_close(switched(x), shrink(captured, analysis, plan)(x))
