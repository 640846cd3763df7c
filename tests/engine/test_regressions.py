"""What the random tests have found: each network once went wrong in the way that its name tells."""

from __future__ import annotations

import pytest
import torch
from fuzz_blocks import Recipe
from fuzz_check import Wish, check
from torch import nn

from graphprune.capture import capture
from graphprune.groups import analyse

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
