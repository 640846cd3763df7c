"""The benchmark of speed: what it records, and that analysis and plan need no weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.speed import versus_table
from benchmarks.speed_growth import FAMILIES
from benchmarks.speed_models import classifier
from benchmarks.speed_versus import OURS, Versus, prune_ours
from graphprune import Plan, analyse, capture, choose, compress, score_channels
from graphprune.errors import ModelError
from graphprune.importance.learn_config import LearnConfig


def tiny(device: str = "cpu") -> nn.Sequential:
    """A residue-free network of two layers, 8 and 4 channels."""
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).to(device).eval()


def test_our_stages_are_all_timed_and_the_model_gets_smaller() -> None:
    model = tiny()
    small, seconds = prune_ours(model, torch.randn(2, 6))
    assert tuple(seconds) == OURS
    assert all(n >= 0 for n in seconds.values())
    assert small(torch.randn(2, 6)).shape == (2, 4)
    assert sum(p.numel() for p in small.parameters()) == 6 * 4 + 4 + 4 * 4 + 4


def test_their_pruner_runs_on_the_same_model() -> None:
    pytest.importorskip("torch_pruning")
    from benchmarks.speed_versus import THEIRS, prune_theirs

    small, seconds = prune_theirs(tiny(), torch.randn(2, 6))
    assert tuple(seconds) == THEIRS
    assert small(torch.randn(2, 6)).shape == (2, 4)
    assert sum(p.numel() for p in small.parameters()) == 6 * 4 + 4 + 4 * 4 + 4


def test_ratios_and_table() -> None:
    ours = dict(zip(OURS, (4.0, 0.5, 0.25, 0.125, 0.125), strict=True))
    one = Versus("net", ours, {"build": 1.0, "prune": 1.0}, (0.25, 0.25))
    assert one.ratio == 2.5
    assert one.ratio_without_capture == 0.5
    other = Versus("other", {**ours, "capture": 1.0}, {"build": 1.0, "prune": 1.0}, (0.25, 0.25))
    last = versus_table([one, other]).splitlines()[-1]
    assert "**1.75**" in last
    assert "**0.50**" in last


def test_the_classifier_is_the_last_layer() -> None:
    model = tiny()
    assert classifier(model) is model[2]


def test_families_double_their_depth() -> None:
    assert [make(step)[0] for make in FAMILIES.values() for step in (0, 1)] == [110, 218, 12, 24]


def test_plan_without_weights_is_that_with_weights(tmp_path: Path) -> None:
    plans = []
    for device in ("cpu", "meta"):
        captured = capture(tiny(device), torch.randn(2, 6, device=device))
        analysis = analyse(captured.module)
        learn = LearnConfig()
        scores = score_channels(captured, analysis, "random", None, learn=learn)
        plan = choose(analysis, scores.by_group, "channels=0.5").plan
        plan.save(tmp_path / "plan.json")
        assert Plan.load(tmp_path / "plan.json").keep(analysis)
        plans.append(plan)
    assert plans[0] == plans[1]
    assert plans[0].kept["0.weight"].keys() == {0}


def test_no_weights_no_compression() -> None:
    model = tiny("meta")
    with pytest.raises(ModelError, match=r"0\.weight .* has no values, .* load the weights first"):
        compress(model, torch.randn(2, 6, device="meta"))


def test_no_weights_no_magnitudes() -> None:
    captured = capture(tiny("meta"), torch.randn(2, 6, device="meta"))
    analysis = analyse(captured.module)
    with pytest.raises(ModelError, match=r"0\.weight has no values to weigh"):
        score_channels(captured, analysis, "l2", None, learn=LearnConfig())
