"""Known answers for parameters and MACs; latencies are medians of interleaved calls."""

from __future__ import annotations

import time

import pytest
import small_models
import torch
from torch import nn
from torch.nn import functional
from torch.utils import flop_counter

from graphprune.delivery.measure import count_macs, count_parameters, latencies, macs_per_example
from graphprune.errors import ModelError
from graphprune.graph.flops import _recurrent_layers, grouped_rows


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
        (nn.LSTM(4, 5), (7, 2, 4), 14 * 20 * (4 + 5)),
        (nn.LSTM(4, 5, num_layers=2, bidirectional=True), (7, 2, 4), 14 * 2 * 20 * (9 + 15)),
        (nn.LSTM(4, 5, proj_size=3), (7, 2, 4), 14 * (20 * (4 + 3) + 5 * 3)),
        (nn.GRU(4, 5, batch_first=True), (2, 7, 4), 14 * 15 * (4 + 5)),
        (nn.RNN(4, 5), (7, 4), 7 * 5 * (4 + 5)),
        (nn.LSTMCell(4, 5), (2, 4), 2 * 20 * (4 + 5)),
    ],
)
def test_macs(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert count_macs(module.eval(), (torch.randn(shape),)) == macs


def test_formulas_of_kernels_that_are_not_of_the_cpu() -> None:
    # Nothing here runs them, so the formulas are called as the counter calls them.
    sizes = [(20, 4), (20, 5), (20,), (20,), (20, 10), (20, 5), (20,), (20,)]
    assert _recurrent_layers((7, 2, 4), sizes, 4, None) == 2 * 14 * 20 * (4 + 5 + 10 + 5)
    assert grouped_rows((6, 4), (3, 4, 5), (3,), out_shape=(6, 5)) == 2 * 6 * 4 * 5


def test_what_is_registered_with_torch_counts() -> None:
    library = torch.library.Library("counted", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: 2 * x, "CompositeExplicitAutograd")

    @flop_counter.register_flop_formula(torch.ops.counted.twice)
    def _(size: torch.Size, **_: object) -> int:
        return 2 * size.numel()

    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.counted.twice(x)

    assert count_macs(Twice(), (torch.randn(3, 4),)) == 12
    flop_counter.flop_registry.pop(torch.ops.counted.twice)


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
