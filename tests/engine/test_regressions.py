"""What the random tests have found: each network once went wrong in the way that its name tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fuzz_blocks import Recipe
from fuzz_check import Wish, check
from small_models import PerExample
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.criteria.base import Evidence
from graphprune.criteria.magnitude import L2
from graphprune.exporters.pt2 import load_pt2, save_pt2

FOUND = {
    "a slice keeps a channel": (
        Recipe((("split", 3, 0), ("assigned", 1, 3)), width=8),
        Wish("channels=0.3", seed=32),
    ),
    "an assigned slice keeps a channel": (
        Recipe((("assigned", 1, 0),), width=8),
        Wish("channels=0.8", seed=11),
    ),
    # The weight's rows took the place of its (group, input) grid.
    "one output per group": (
        Recipe((("grouped", 3, 0),), width=8),
        Wish("macs=0.6", seed=87),
    ),
    "one output per group, uneven": (
        Recipe((("dense", 4, 0), ("grouped", 4, 0)), width=8),
        Wish("channels=0.3", seed=162),
    ),
    # 4 groups of 5 and 5 groups of 4 are two grids, though their numbers read the same in a row.
    "grids of unlike shapes": (
        Recipe((("conv", 4, 0), ("grouped", 4, 4), ("transposed", 5, 3)), width=8),
        Wish("channels=0.8"),
    ),
    # Its number of sections stayed, so that unlike channels met.
    "tensor_split cuts where the kept channels end": (
        Recipe((("cut_and_joined", 1, 6),)),
        Wish("channels=0.25"),
    ),
    # IndexError: the reason was sought along a dimension, and there was none.
    "an unknown operator reads a single channel": (
        Recipe((("split", 1, 0), ("whole_dimension", 4, 0))),
        Wish("channels=0.25"),
    ),
    # Without end: columns were united again and again that cannot be.
    "whole rows meet a row with an element without channels": (
        Recipe(
            (("whole_dimension", 1, 2), ("down_and_up", 1, 7), ("of_any_rank", 5, 5)),
            frame="pooled",
            width=8,
            size=(3, 5),
        ),
        Wish("params=38%", "isomorphic", "inside", 273),
    ),
    # PassError: it was foretold to be as long along its other dimensions as it had been.
    "a slice without elements": (
        Recipe((("rearranged", 1, 5), ("written_to", 5, 2)), frame="image"),
        Wish("channels=25%"),
    ),
    # NotRectangularError: rows were left, and columns, but none that those rows have.
    "rows and columns of one dimension have nothing in common": (
        Recipe((("flattened", 2, 0), ("assigned", 1, 0)), frame="image", size=(3, 5)),
        Wish("macs=25%", seed=25),
    ),
    # The other channels of the layer are pinned; the test took those of the group for all.
    "the only channel of a group, which nothing reads, goes": (
        Recipe((("rearranged", 1, 2), ("by_index", 1, 0), ("cut_and_joined", 1, 0)), frame="image"),
        Wish("macs=25%"),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    assert check(*FOUND[name]).shrunk


def test_weight_norm_is_not_tried_out() -> None:
    """The deletion probe gave torch's kernel shapes that it does not check: memory was damaged."""
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1))
    net = nn.Sequential(layer, nn.Conv2d(4, 2, 1)).double().eval()
    captured = capture(net, torch.randn(2, 3, 4, 4, dtype=torch.float64))
    (group,) = analyse(captured.module).groups
    assert group.size == 4


class Averaging(nn.Module):
    """Writes a running mean of what it has seen, and subtracts it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        self.mean.mul_(0.5).add_(0.5 * x.mean((0, 2, 3)))
        return self.last(torch.relu(x - self.mean.view(1, -1, 1, 1)))


def test_a_model_that_writes_into_its_buffers_is_compared_from_one_state() -> None:
    """The reference masks a copy of the buffer, the small model had moved its own on."""
    result = compress(Averaging().eval(), torch.randn(2, 3, 4, 4), method="l2")
    assert result.certificate.passed
    assert result.model.get_buffer("mean").shape == (4,)


class Spectral(nn.Module):
    """A product with one complex weight for each channel (neural operators)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)
        self.weight = nn.Parameter(torch.complex(torch.ones(8), torch.arange(8.0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last((torch.fft.fft(self.first(x), dim=1) * self.weight).abs())


def test_complex_weights_count_with_both_parts() -> None:
    """Their imaginary part was left out of the scores, with a warning of torch's."""
    model = Spectral().eval()
    nn.init.ones_(model.first.weight)
    nn.init.ones_(model.first.bias)
    nn.init.ones_(model.last.weight)
    analysis = analyse(capture(model, torch.randn(2, 5, 3)).module)
    (scores,) = L2().score(Evidence(analysis)).values()
    assert scores.argsort().tolist() == list(range(8))


class Heads(nn.Module):
    """A weight for every head and column, and a bias over all of them in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 32), nn.Linear(32, 2)
        self.weight = nn.Parameter(torch.randn(4, 8))
        self.bias = nn.Parameter(torch.randn(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).view(-1, 4, 8) * self.weight
        return self.last(torch.relu(x.flatten(1) + self.bias))


def test_heads_beside_a_table_of_heads_and_columns_go_or_are_shortened_alike() -> None:
    """Two grids crossed, so that all of both stayed."""
    for heads, shape in (("inside", (4, 4)), ("whole", (2, 8))):
        config = CompressConfig(heads=heads)
        result = compress(Heads().eval(), torch.randn(5, 3), method="l2", config=config)
        shapes = {key: tuple(value.shape) for key, value in result.model.named_parameters()}
        assert shapes["weight"] == shape
        assert shapes["bias"] == (16,)


class Unmoving(nn.Module):
    """expand_as before a cat, which is no element-wise reader: its size follows another tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(16, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(torch.cat([x, x.mean(1, keepdim=True).expand_as(x)], 1))


def test_expand_as_is_as_long_as_what_it_follows() -> None:
    result = compress(Unmoving().eval(), torch.randn(2, 3, 4, 4), method="l2")
    assert result.model.get_parameter("last.weight").shape[0] == 2
    assert result.certificate.passed


class Hyper(nn.Module):
    """A kernel made by a linear layer: all its positions of one channel go together."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.last = nn.Linear(4, 6 * 3 * 9), nn.Conv2d(6, 2, 1)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        kernel = self.make(z).mean(0).view(6, 3, 3, 3)
        return self.last(torch.relu(nn.functional.conv2d(x, kernel, padding=1)))


def test_a_kernel_made_by_a_layer_loses_channels() -> None:
    inputs = (torch.randn(2, 3, 5, 5), torch.randn(2, 4))
    result = compress(Hyper().eval(), inputs, method="l2")
    assert result.model.get_parameter("make.weight").shape == (3 * 3 * 9, 4)


def test_examples_as_groups_stay_as_many_as_there_are() -> None:
    """The number of groups became that of the example's batch: RuntimeError at any other."""
    result = compress(PerExample().eval(), torch.randn(2, 3, 4, 4), method="l2")
    assert result.stages.small.dynamic_batch
    assert result.model.get_parameter("first.weight").shape[0] < 8
    with torch.no_grad():
        assert result.model(torch.randn(3, 3, 4, 4)).shape == (3, 2, 4, 4)


def test_loading_a_model_that_writes_into_its_buffers_leaves_them(tmp_path: Path) -> None:
    """The inputs were tried out on the loaded program, which moved its buffers on."""
    captured = capture(Averaging().eval(), torch.randn(2, 3, 4, 4))
    captured.module.get_buffer("mean").copy_(torch.arange(8.0))
    loaded, _ = load_pt2(save_pt2(captured, tmp_path / "model.pt2"))
    assert loaded.get_buffer("mean").tolist() == list(range(8))


class Prefixed(nn.Module):
    """Heads whose first tokens or last heads are treated in another way, but there are none."""

    def __init__(self, *piece: slice) -> None:
        super().__init__()
        self.first, self.last, self.piece = nn.Linear(3, 32), nn.Linear(32, 2), piece

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.first(x).view(-1, 5, 4, 8).transpose(1, 2)
        done = torch.relu(heads)
        done[self.piece] = heads[self.piece] * 2
        return self.last(done.transpose(1, 2).flatten(2))


@pytest.mark.parametrize(
    "piece", [(slice(None), slice(None), slice(0)), (slice(None), slice(4, None))]
)
def test_a_piece_of_heads_without_elements_keeps_their_size(piece: tuple[slice, ...]) -> None:
    """What lies along its other dimensions cannot be told from its elements: PassError."""
    result = compress(Prefixed(*piece).eval(), torch.randn(2, 5, 3), method="l2")
    assert result.certificate.passed
    assert result.model.get_parameter("first.weight").shape[0] < 32


class Unread(nn.Module):
    """A linear layer whose last channel nobody reads; the others are the output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))[:, :2]


def test_all_of_a_group_may_go_where_pinned_channels_stay() -> None:
    result = compress(Unread().eval(), torch.randn(2, 3), target="macs=0.3", method="l2")
    assert result.plan.widths["last.weight"] == (1, 0)
    assert result.plan.kept["last.weight"][0] == [0, 1]
    assert result.model.get_parameter("last.weight").shape[0] == 2
