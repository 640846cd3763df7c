"""Where switches go: once behind each producer, after its affine, before the nonlinearity."""

from __future__ import annotations

import torch
from torch import nn

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
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
