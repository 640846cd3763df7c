"""Where switches go: where zero is what removal is, after the affine, before the nonlinearity."""

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


def test_what_comes_last_on_the_way_is_scaled() -> None:
    """The depthwise convolution and its norm have shifts of their own, which go too."""
    assert placed(Depthwise()) == {"conv.weight": ["batch_norm_1"]}


class Dense(nn.Module):
    """Norms behind concatenations, each of another number of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.more = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, padding=1)
        self.one, self.two, self.head = nn.BatchNorm2d(6), nn.BatchNorm2d(10), Head(10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.more(self.one(x).relu())], 1)
        return self.head(self.two(x).relu())


class PreActivation(nn.Module):
    """A residual stream that is read through norms alone, or at once by a convolution too."""

    def __init__(self, *, direct: bool) -> None:
        super().__init__()
        self.stem, self.direct = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 1) if direct else None
        self.one, self.conv = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.two, self.head = nn.BatchNorm2d(8), Head(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        aside = 0.0 if self.direct is None else self.direct(x)
        x = x + self.conv(self.one(x).relu())
        return self.head(self.two(x).relu()) + (
            aside if self.direct is None else aside.mean((2, 3))
        )


def test_norms_behind_concatenations_and_sums_are_scaled_in_place_of_the_producers() -> None:
    assert placed(Dense()) == {
        "stem.weight": ["batch_norm", "batch_norm_1"],
        "more.weight": ["batch_norm_1"],
    }
    stream = placed(PreActivation(direct=False))
    assert stream == {"stem.weight": ["batch_norm", "batch_norm_1"]}
    # What a convolution reads at once must be scaled before.
    assert placed(PreActivation(direct=True)) == {
        "stem.weight": ["conv2d", "batch_norm", "batch_norm_1"]
    }


class PreNorm(nn.Module):
    """A stream that layer norms read: they mix the channels, and shift each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(8, 6), nn.LayerNorm(6)
        self.up, self.down = nn.Linear(6, 7), nn.Linear(7, 6)
        self.last, self.head = nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        x = x + self.down(self.up(self.norm(x)).relu())
        return self.head(self.last(x))


def test_norms_across_channels_are_scaled_beside_what_they_read() -> None:
    assert placed(PreNorm())["embed.weight"] == ["linear", "layer_norm", "linear_2", "layer_norm_1"]


def _shaken(model: nn.Module) -> nn.Module:
    """With shifts that matter."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            nn.init.uniform_(value, 0.5, 1.5) if "var" in name else nn.init.normal_(value)
    return model.eval()


@pytest.mark.parametrize(
    "model", [Depthwise(), Dense(), PreActivation(direct=False)], ids=lambda m: type(m).__name__
)
def test_switches_of_zeros_and_ones_are_the_cut_of_norms_too(model: nn.Module) -> None:
    _switched_as_cut(_shaken(model), torch.randn(3, 3, 8, 8))


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
    _switched_as_cut(model.eval(), torch.randn(3, 5, 6))


def _switched_as_cut(model: nn.Module, x: torch.Tensor) -> None:
    captured = capture(model, x)
    analysis = analyse(captured.module)
    scores = {group.name: torch.rand(group.size) for group in analysis.groups}
    plan = choose(analysis, scores, "channels=0.5", method="random").plan
    kept = plan.classes(analysis)
    switches = {g.name: Fixed(torch.from_numpy(kept[g.channels]).float()) for g in analysis.groups}
    switched = copy.deepcopy(captured.module)
    InsertSwitches(sites=switch_sites(analysis), switches=switches)(switched)
    cut = shrink(captured, analysis, plan)
    torch.testing.assert_close(switched(x), cut(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(cut(x), captured.module(x), atol=1e-2)
