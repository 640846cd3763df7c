"""Credible intervals, and what is said of a ranking that they do not support."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import distributions

from graphprune import CompressConfig, LearnConfig, compress
from graphprune.compressed import Compressed
from graphprune.exporters.report import Report
from graphprune.importance.credibility import indistinct, separated
from graphprune.switches.dirichlet import Dirichlet, DirichletSwitch

DRAWN = Dirichlet(variant="per-example")


def test_dirichlet_intervals_hold_the_share_of_draws_that_they_promise() -> None:
    switch = DirichletSwitch(6, DRAWN)
    with torch.no_grad():
        switch.raw.copy_(torch.tensor([-1.0, 0.5, 1.0, 3.0, 8.0, 20.0]))
    draws = distributions.Dirichlet(switch.posterior()).sample((100_000,)) * 6
    for level in (0.5, 0.9):
        bounds = switch.interval(level)
        assert bounds is not None
        low, high = bounds
        within = ((draws > low) & (draws < high)).double().mean(0)
        torch.testing.assert_close(within, torch.full_like(within, level), rtol=0, atol=0.01)
        below = (draws <= low).double().mean(0)
        torch.testing.assert_close(
            below, torch.full_like(below, (1 - level) / 2), rtol=0, atol=0.01
        )
    alone = DirichletSwitch(1, DRAWN).interval(0.9)
    assert alone is not None
    assert alone.tolist() == [[1.0], [1.0]]
    assert DirichletSwitch(6).interval(0.9) is None, "the mean says nothing of its spread"


def test_separated_counts_pairs_without_overlap() -> None:
    low = torch.tensor([0.0, 0.1, 0.5, 2.0])
    intervals = torch.stack([low, low + 0.6])
    kept = np.array([False, False, True, True])
    # gone 0 (to 0.6) and 1 (to 0.7) against kept 2 (from 0.5) and 3 (from 2.0)
    assert separated(intervals, kept) == 0.5
    assert separated(intervals, ~kept) == 0.0
    assert separated(intervals, np.array([True] * 4)) is None
    assert separated(intervals, np.array([False] * 4)) is None


def test_groups_without_evidence_are_named() -> None:
    assert indistinct({"a": 0.4, "b": None}, 300) == ""
    line = indistinct({"a": 0.0, "b": 0.04, "c": 0.9, "d": 0.01, "e": 0.0}, 1200)
    assert line.startswith("the ranking of 4 channel groups (a, b, d and 1 more) cannot be told")
    assert "learn for more than 1,200 steps (--switch-epochs)" in line


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(128, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, :3].argmax(1))


def _classifier(ignored: int) -> torch.nn.Sequential:
    """A trained classifier that does not read the last ``ignored`` of its eight channels."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    x, y = _data()
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
        with torch.no_grad():
            model[2].weight[:, 8 - ignored :] = 0  # type: ignore[index, operator]
    return model.eval()


@pytest.mark.parametrize("enough", [True, False])
def test_the_report_says_whether_the_posterior_supports_the_cut(enough: bool) -> None:
    model = _classifier(4 if enough else 0)
    learn = LearnConfig() if enough else LearnConfig(max_steps=1)
    config = CompressConfig(learn=learn, batch_size=32)
    method = "dirichlet{lr=0.05}"
    result = compress(model, _data()[0][:2], method=method, data=_data(), config=config)
    assert isinstance(result, Compressed)
    (row,) = result.report.groups
    assert len(row.importance) == len(row.intervals) == 8
    for (low, high), mean in zip(row.intervals, row.importance, strict=True):
        assert low <= mean <= high
        assert low < high
        assert mean >= 0
    assert result.report.certainty == (
        "dirichlet gives 90% intervals of importance, from two halves of the data"
    )
    assert len(row.kept) == 4
    doubts = [note for note in result.report.notes if "cannot be told from chance" in note]
    assert row.separated is not None
    assert not math.isnan(row.separated)
    if enough:
        assert row.kept == (0, 1, 2, 3)
        assert row.separated > 0.5
        assert not doubts
    else:
        assert row.separated == 0
        assert doubts[0].startswith("the ranking of 1 channel group (0.weight)")


@pytest.mark.parametrize("method", ["l2", "taylor", "l0", "gl", "random", "vcnp"])
def test_every_method_reports_what_it_ranked_by(method: str) -> None:
    config = CompressConfig(learn=LearnConfig(max_steps=2), batch_size=32)
    x, y = _data()
    result = compress(_classifier(4), x[:2], method=method, data=(x, y), config=config)
    assert isinstance(result, Compressed)
    report = result.report
    (row,) = report.groups
    assert torch.equal(
        torch.tensor(row.importance, dtype=torch.float64),
        result.stages.scores.by_group["0.weight"].double(),
    )
    gone = [row.importance[channel] for channel in range(8) if channel not in row.kept]
    assert max(gone) <= min(row.importance[channel] for channel in row.kept)
    if method in {"l0", "gl", "taylor"}:
        assert len(row.intervals) == 8
        assert row.separated is not None
        return
    assert row.intervals == ()
    assert row.separated is None
    assert report.certainty.startswith(f"{method} gives no intervals")
    assert ("halves=True" in report.certainty) == (method in {"l0", "gl"})
    stream = io.StringIO()
    report.render(Console(file=stream, width=200))
    assert f"{method} gives no intervals" in stream.getvalue()


def test_the_evidence_survives_the_file(tmp_path: Path) -> None:
    model = _classifier(0)
    config = CompressConfig(learn=LearnConfig(max_steps=2))
    result = compress(model, _data()[0][:2], data=_data(), config=config)
    path = tmp_path / "report.json"
    result.report.write_json(path)
    assert Report.load(path).groups == result.report.groups
