"""Figure 3: a pool is judged as its cut models would be; wins are counted and tested rightly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from benchmarks.compressing import Task
from benchmarks.data import Images, loader
from benchmarks.paper.cutting import plan_at_widths, rank, small_model
from benchmarks.paper.figure3 import POOLS, Pool, checked_equal
from benchmarks.paper.figure3_table import (
    against_rest,
    by_method,
    friedman,
    holm,
    mean_ranks,
    tables,
    wins,
)
from benchmarks.paper.pool import errors
from benchmarks.training import error_percent
from graphprune.training.recalibrate import recalibrate_batchnorm

SIZES = {
    "lenet5": (20, 50, 500),
    "vgg16_quarter": (16, 16, 32, 32, 64, 64, 64, *(128,) * 7),
}


def task() -> Task:
    """Norms, in-place activations and a flattened tail; random labels, so that errors differ."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten()),
        *(nn.Linear(32, 10), nn.LayerNorm(10), nn.ReLU(inplace=True), nn.Linear(10, 4)),
    ).eval()
    pixels = torch.randint(0, 256, (120, 1, 10, 10), dtype=torch.uint8)
    images = Images(pixels, torch.randint(0, 4, (120,)), (0.5,), (0.3,))
    return Task(model, images.subset(slice(60)), images.subset(slice(60, None)), batch_size=20)


def test_a_pool_is_judged_as_its_cut_models_are() -> None:
    given = task()
    ranked = rank(given, "l2", 0)
    pool = [(a, b, c) for a in (2, 5, 6) for b in (4, 8) for c in (3, 10)]
    found = errors(ranked, pool, loader(given.test, 15))
    for widths, error in zip(pool, found, strict=True):
        small = small_model(ranked, plan_at_widths(ranked, widths))
        assert error == pytest.approx(error_percent(small, given.test))
    assert len(set(found)) > 3
    judged = checked_equal(ranked, pool, found, lambda small: error_percent(small, given.test))
    assert judged["proved"] == 3
    assert judged["parameters_kept"] == sorted(judged["parameters_kept"])


def test_calibration_is_a_re_estimation_of_every_batch_norm() -> None:
    given = task()
    ranked = rank(given, "l2", 0)
    pool = [(a, b, c) for a in (2, 5) for b in (4, 8) for c in (3, 10)]
    calibration = given.train.normalise(given.train.pixels[:24])
    found = errors(ranked, pool, loader(given.test, 15), calibration)
    assert found != errors(ranked, pool, loader(given.test, 15))
    for widths, error in zip(pool, found, strict=True):
        small = small_model(ranked, plan_at_widths(ranked, widths))
        assert recalibrate_batchnorm(small, [((calibration,), None)]) == 1
        assert error == pytest.approx(error_percent(small, given.test))


def test_an_error_that_is_not_that_of_the_cut_model_is_found() -> None:
    given = task()
    ranked = rank(given, "l2", 0)
    with pytest.raises(AssertionError, match="points apart"):
        checked_equal(ranked, [(2, 4, 3)], [-1.0], lambda small: error_percent(small, given.test))


@pytest.mark.parametrize("model", sorted(POOLS))
@pytest.mark.parametrize("pool", ["removed", "kept"])
def test_the_pools_are_as_large_as_the_papers(model: str, pool: str) -> None:
    widths = POOLS[model][pool].widths(SIZES[model])
    assert len(set(widths)) == len(widths) == {"lenet5": 108, "vgg16_quarter": 128}[model]
    # All layers count both what they read and what they make: parameters go about as products.
    for one in widths:
        assert all(0 < w < n for w, n in zip(one, SIZES[model], strict=True))


def test_the_last_layers_vary_fastest() -> None:
    pool = Pool((1, 2), ((0.5, 1.0), (0.25, 0.75)))
    assert pool.widths((4, 8, 8)) == [(2, 2, 2), (2, 6, 6), (4, 2, 2), (4, 6, 6)]


def test_ties_share_a_win_and_seeds_are_averaged() -> None:
    won = wins(
        {
            "a": np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),
            "b": np.array([[1.0, 1.0, 4.0], [1.0, 1.0, 1.0]]),
            "c": np.array([[2.0, 2.0, 5.0], [1.0, 1.0, 1.0]]),
        }
    )
    assert won == {"a": (1.5 + 3) / 2, "b": 1.5 / 2, "c": 0}
    assert sum(won.values()) == 3


def test_the_sign_test_counts_wins_and_leaves_ties_out() -> None:
    best = np.zeros((1, 12))
    other = np.ones((1, 12))
    other[0, :2] = [0, -1]
    found = against_rest({"a": best, "b": other, "c": best}, "a")
    p = stats.binomtest(10, 11).pvalue
    assert found["b"] == (10, 1, pytest.approx(2 * p))
    assert found["c"] == (0, 0, 1.0)


def test_ranks_are_means_over_the_pool_and_ties_share_them() -> None:
    errors_of = {"a": [1.0, 2.0], "b": [1.0, 3.0], "c": [5.0, 1.0]}
    ranks = mean_ranks({name: np.array([one]) for name, one in errors_of.items()})
    assert ranks == {"a": 1.75, "b": 2.25, "c": 2.0}


def test_holm_is_step_down() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),  # never below that of a smaller one
        "c": pytest.approx(0.06),
    }


def test_friedman_sees_what_is_alike_in_every_block() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(1, 30)) * 100
    errors_of = {name: base + shift for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.2))}
    assert friedman(errors_of) < 1e-10
    chance = {name: rng.normal(size=(1, 30)) for name in "abc"}
    assert friedman(chance) > 0.01


def test_the_tables_hold_each_pool_and_only_common_seeds() -> None:
    def record(method: str, seed: int, *values: float) -> dict[str, object]:
        scale = {"rank_images": 10, "rank_epochs": 1, "test_images": 20}
        return {
            "model": "lenet5",
            "pool": "kept",
            "scale": scale,
            "dense_error": 1.0,
            "method": method,
            "seed": seed,
            "errors": list(values),
        }

    records = [record(m, s, 2 + s, 3, 4) for m in ("mean", "l2", "random") for s in (0, 1)]
    records.append(record("mean", 2, 0, 0, 0))
    assert by_method(records)["mean"].shape == (2, 3)
    text = tables(records)
    assert "### lenet5, 3 sub-architectures, 20-60 % of the parameters kept" in text
    assert "2 seed(s)" in text
    assert "| `mean` | 1.0 | ██████████ |" in text
    alone = tables([record("random", 0, 1, 2, 3)])  # none of the paper's seven
    assert "| `random` | 3.0 |" in alone
    assert "Among the seven" not in alone
