"""Known answers for parameters and MACs; latencies are medians of interleaved calls."""

from __future__ import annotations

import time

import pytest
import small_models
import torch
from torch import nn
from torch.nn import functional

from graphprune.delivery.measure import count_macs, count_parameters, latencies, macs_per_example
from graphprune.errors import ModelError


class _Attention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.scaled_dot_product_attention(x, x, x)


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.Linear(4, 3), (1, 4), 4 * 3),
        (nn.Linear(4, 3), (5, 4), 5 * 4 * 3),
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 10), 8 * 3 * 9 * 100),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (1, 8, 10, 10), 8 * 9 * 100),
        (nn.Conv2d(8, 8, 3, stride=2, groups=2), (1, 8, 9, 9), 8 * 4 * 9 * 16),
        (_Attention(), (1, 2, 5, 4), 2 * (2 * 5 * 5 * 4)),
        (nn.BatchNorm2d(3), (2, 3, 4, 4), 0),
    ],
)
def test_macs(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert count_macs(module.eval(), (torch.randn(shape),)) == macs


def test_macs_are_per_example_where_the_batch_is_free() -> None:
    conv, heads = 8 * 3 * 9 * 64, 2 * 8 * 4
    assert macs_per_example(small_models.traits()) == (conv + heads, 1)
    assert macs_per_example(small_models.fixed_batch()) == (12 * 5, 4)


def test_counting_changes_nothing_and_computes_nothing() -> None:
    norm = nn.BatchNorm2d(3).train()
    count_macs(norm, (torch.randn(2, 3, 4, 4),))
    assert float(norm.running_mean.abs().sum()) == 0  # type: ignore[union-attr]


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="cannot be counted"):
        count_macs(nn.Linear(4, 3), (torch.randn(1, 5),))


def test_tied_parameters_count_once() -> None:
    model = small_models.Traits()
    separate = 8 * 3 * 9 + 8 + 8 + 8 + 8 * 4 + 4
    assert count_parameters(model) == separate
    assert count_parameters(small_models.traits().module) == separate


def test_latencies_are_interleaved_medians() -> None:
    order: list[str] = []
    calls = {
        "slow": lambda: (order.append("slow"), time.sleep(0.004)),
        "fast": lambda: order.append("fast"),
    }
    found = latencies(calls, batch=3, repeats=5, warm_up=1)
    assert order == ["slow", "fast"] * 6
    assert found["slow"].repeats == 5
    assert found["slow"].batch == 3
    assert 4 <= found["slow"].low_ms <= found["slow"].median_ms <= found["slow"].high_ms
    assert found["fast"].median_ms < found["slow"].median_ms


def test_latencies_stop_in_time() -> None:
    found = latencies({"nap": lambda: time.sleep(0.02)}, batch=1, repeats=1000, seconds=0.05)
    assert found["nap"].repeats == 3
