"""Widths that are multiples of what the hardware likes."""

from __future__ import annotations

import itertools

import pytest
import torch
from engine_oracle import Shrunk, prune
from hand_worked import LIMIT, Tensor
from torch import nn
from torch.nn import functional as F

from graphprune import CompressConfig, compress
from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.choosing.thinning import Thinning
from graphprune.errors import TargetError

PICTURE = (2, 3, 8, 8)


def convolutions(*widths: int, groups: int = 1) -> nn.Module:
    """3 -> widths -> 5 channels."""
    sizes, layers = (3, *widths, 5), []
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        grouped = groups if 0 < number < len(widths) else 1
        layers += [nn.Conv2d(before, after, 3, padding=1, groups=grouped), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Attention(nn.Module):
    """(N, T, 6) -> (N, T, 5) with heads of 12."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(6, 12 * heads) for _ in range(3))
        self.out = nn.Linear(12 * heads, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(2, (self.heads, 12)) for f in (self.q, self.k, self.v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def rounded(
    net: nn.Module, shape: tuple[int, ...], target: str, to: int, heads: str = "both"
) -> Shrunk:
    captured = capture(net.eval(), torch.randn(shape))
    result = prune(captured, analyse(captured.module), target, thinning=Thinning(heads, to))
    assert result.error <= LIMIT
    return result


def left(result: Shrunk, name: str) -> int:
    return int(result.small.get_parameter(name).shape[0])


@pytest.mark.parametrize(
    ("target", "widths"),
    [
        ("channels=0.5", [16, 16, 8]),  # of 16, 13.5 and 6 channels
        ("channels=0.4", [16, 8, 8]),  # 12.8, 10.8 and 4.8
        ("channels=0.01", [8, 8, 8]),
        ("channels=0.95", [32, 27, 12]),  # 30.4, 25.65 and 11.4: nothing at all is nearer
    ],
)
def test_what_stays_of_a_group_is_the_nearest_multiple(target: str, widths: list[int]) -> None:
    result = rounded(convolutions(32, 27, 12), PICTURE, target, 8)
    assert [left(result, f"{n}.weight") for n in (0, 2, 4)] == widths


def test_narrow_groups_stay_whole() -> None:
    result = rounded(convolutions(16, 6), PICTURE, "channels=0.5", 8)
    assert [left(result, f"{n}.weight") for n in (0, 2)] == [8, 6]


@pytest.mark.parametrize("target", ["params=0.4", "macs=0.6"])
@pytest.mark.parametrize("to", [4, 8])
def test_budgets_are_met_in_such_steps(target: str, to: int) -> None:
    result = rounded(convolutions(50, 61, 43), PICTURE, target, to)
    assert all(left(result, f"{n}.weight") % to == 0 for n in (0, 2, 4))


@pytest.mark.parametrize("target", ["channels=0.5", "params=0.5"])
def test_heads_keep_a_multiple_each(target: str) -> None:
    result = rounded(Attention(3), (2, 5, 6), target, 4, "inside")
    for name in ("q.weight", "v.weight"):
        assert left(result, name) in (3 * 4, 3 * 8)


def test_heads_narrower_than_that_go_whole_in_numbers_that_fit() -> None:
    result = rounded(Attention(6), (2, 5, 6), "params=0.5", 24)
    assert left(result, "q.weight") in (24, 48)  # two or four heads of 12


def test_grouped_convolutions() -> None:
    result = rounded(convolutions(64, 64, groups=4), PICTURE, "params=0.4", 8)
    for name in ("0.weight", "2.weight"):
        assert left(result, name) % 8 == 0
        assert left(result, name) < 64


def test_from_the_top_and_refused() -> None:
    config = CompressConfig(round_to=8)
    result = compress(convolutions(32, 24), torch.randn(PICTURE), target="macs=0.4", config=config)
    assert [result.model.get_parameter(f"{n}.weight").shape[0] % 8 for n in (0, 2)] == [0, 0]
    with pytest.raises(TargetError, match="cannot be rounded to 0"):
        compress(convolutions(8), torch.randn(PICTURE), config=CompressConfig(round_to=0))


def widths(net: nn.Module, target: str) -> list[int]:
    """Of a result with the defaults."""
    model = compress(net, torch.randn(PICTURE), method="l2", target=target).model
    return [p.shape[0] for name, p in model.named_parameters() if name.endswith("weight")][:-1]


def test_by_default_steps_are_an_eighth_of_the_group_at_most() -> None:
    assert widths(convolutions(66, 36, 18, 7), "channels=0.5") == [32, 20, 10, 4]


def test_by_default_steps_become_finer_until_the_budget_is_met() -> None:
    wide, narrow = (widths(convolutions(*sizes), "params=0.5") for sizes in [(512, 256), (64, 67)])
    assert all(width % 8 == 0 for width in wide)
    net = convolutions(64, 67)
    result = compress(net, torch.randn(PICTURE), method="l2", target="params=0.5")
    assert result.stages.choice.reached == pytest.approx(0.5, abs=0.01)
    assert any(width % 8 for width in narrow)
