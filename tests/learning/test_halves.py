"""Switches learned from two halves of the data: their mean, and what their distance says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

import graphprune
from graphprune.analysis.groups import analyse
from graphprune.criteria.base import Evidence
from graphprune.importance.credibility import INDISTINCT, separated
from graphprune.importance.halves import InTurn, has_halves, interval
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.scoring import score_channels
from graphprune.switches.dirichlet import Dirichlet
from graphprune.switches.l0 import HardConcrete
from graphprune.switches.method import SwitchMethod
from graphprune.switches.placement import switch_sites

LIVE = 4


def _data(examples: int, seed: int, *, noise: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, 6, generator=generator)
    labels = torch.randint(0, 3, (examples,), generator=generator) if noise else x[:, :3].argmax(1)
    return x, labels


def _classifier() -> nn.Module:
    """Half of the hidden units are read, the others have large weights that nobody reads."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 2 * LIVE), nn.ReLU(), nn.Linear(2 * LIVE, 3))
    optimiser = torch.optim.Adam(model.parameters(), 0.03)
    x, labels = _data(128, 0)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimiser.step()
        with torch.no_grad():
            model[2].weight[:, LIVE:] = 0
    return model.eval()


def _compressed(method: str, examples: int, **learn: int) -> graphprune.compressed.Compressed:
    data = _data(examples, 1)
    config = graphprune.CompressConfig(learn=LearnConfig(**learn), batch_size=32, round_to=1)
    result = graphprune.compress(
        _classifier(), data[0][:2], method=method, data=data, config=config
    )
    assert isinstance(result, graphprune.compressed.Compressed)
    return result


@pytest.mark.parametrize("method", ["dirichlet", "dirichlet{initial=1}", "dirichlet{initial=1000}"])
@pytest.mark.parametrize("examples", [128, 2000])
def test_a_right_ranking_is_told_from_chance_wherever_phi_starts(
    method: str, examples: int
) -> None:
    result = _compressed(method, examples)
    (row,) = result.report.groups
    assert row.kept == tuple(range(LIVE))
    assert row.separated is not None
    assert row.separated >= (1.0 if examples == 2000 else 0.5)  # 64 examples in each half
    assert not any("chance" in note for note in result.report.notes)


@pytest.mark.parametrize("method", ["taylor", "fisher", "obd", "activation-mean", "activation-var"])
def test_criteria_that_measure_on_data_have_intervals(method: str) -> None:
    report = _compressed(method, 2000).report
    (row,) = report.groups
    assert row.kept == tuple(range(LIVE))
    assert row.separated is not None
    assert row.separated >= 0.75
    pairs = zip(row.intervals, row.importance, strict=True)
    assert all(low <= value <= high for (low, high), value in pairs)
    assert "two halves of the data" in report.certainty


class _Once:
    """A plug-in that does not bear to be asked twice, with an attribute that ours have too."""

    name, needs_data, batches = "once", True, "all"

    def __init__(self) -> None:
        self.asked = 0

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        self.asked += 1
        if self.asked > 1:
            raise RuntimeError("asked before")
        return {
            group.name: group.size - torch.arange(float(group.size))
            for group in evidence.analysis.groups
        }


def test_a_plug_in_that_is_asked_once_gives_no_intervals() -> None:
    data = _data(128, 1)
    result = graphprune.compress(_classifier(), data[0][:2], method=_Once(), data=data)
    assert isinstance(result, graphprune.compressed.Compressed)
    assert result.report.groups[0].intervals == ()
    assert "gives no intervals" in result.report.certainty


def test_intervals_leave_the_callers_generators_alone() -> None:
    x, y = _data(128, 1)
    captured = graphprune.capture(_classifier(), x[:2])
    after = []
    for intervals in (False, True):
        torch.manual_seed(3)
        generator = torch.Generator().manual_seed(4)
        data = DataLoader(TensorDataset(x, y), 32, shuffle=True, generator=generator)
        scores = score_channels(
            captured,
            analyse(captured.module),
            "taylor",
            data,
            learn=LearnConfig(),
            intervals=intervals,
        )
        assert bool(scores.intervals) is intervals
        after.append((torch.rand(3).tolist(), torch.rand(3, generator=generator).tolist()))
    assert after[0] == after[1]


def test_more_data_make_a_criterion_surer() -> None:
    def width(examples: int) -> float:
        """Of intervals, next to what is measured: the loss is another at another size."""
        (row,) = _compressed("fisher", examples).report.groups
        low, high = np.array(row.intervals[:LIVE]).T
        return float(np.mean(high - low) / np.mean(row.importance[:LIVE]))

    assert width(8000) < width(128) / 2


@pytest.mark.parametrize("method", ["l2", "cosine"])
def test_weights_alone_give_no_intervals(method: str) -> None:
    report = _compressed(method, 128).report
    assert not report.groups[0].intervals
    assert "gives no intervals" in report.certainty


def test_kinds_without_a_posterior_have_intervals_too() -> None:
    (row,) = _compressed("l0", 2000, halves=True).report.groups
    assert len(row.intervals) == len(row.importance) > 0
    pairs = zip(row.intervals, row.importance, strict=True)
    assert all(low <= value <= high for (low, high), value in pairs)


def test_auto_asks_both_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """On labels that are noise, what goes from one data set has no reason to go from another."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).eval()

    def sure(*, halves: bool) -> int:
        captured = graphprune.capture(model, torch.randn(2, 6))
        analysis = graphprune.analyse(captured.module)
        x, labels = _data(1000, 5, noise=True)
        batches = DataLoader(
            TensorDataset(x, labels), 16, True, generator=torch.Generator().manual_seed(0)
        )
        learn = LearnConfig(spread=True, halves=halves)
        scores = graphprune.score_channels(captured, analysis, "dirichlet", batches, learn=learn)
        below = graphprune.choosing.cutoff.unimportance(analysis, scores, 0.5)
        return int((below["0.weight"] > 0.95).sum())

    assert sure(halves=True) < sure(halves=False)


@pytest.mark.parametrize("method", [Dirichlet(variant="mean"), HardConcrete()])
def test_the_switch_is_the_mean_of_its_halves(method: SwitchMethod) -> None:
    captured = graphprune.capture(_classifier(), torch.randn(2, 6))
    sites = switch_sites(graphprune.analyse(captured.module))
    x, labels = _data(256, 2)
    batches = list(zip(x.split(32), labels.split(32), strict=True))
    result = learn_switches(
        captured, sites, batches, method, config=LearnConfig(max_steps=30, halves=True)
    )
    assert len(result.halves) == 2
    (group,) = result.switches
    sides = [dict(half[group].named_parameters()) for half in result.halves]
    for name, parameter in result.switches[group].named_parameters():
        assert not torch.equal(sides[0][name], sides[1][name])
        torch.testing.assert_close(parameter, (sides[0][name] + sides[1][name]) / 2)
    alone = learn_switches(
        captured, sites, batches, method, config=LearnConfig(max_steps=30, halves=False)
    )
    assert alone.halves == ()


@pytest.mark.parametrize("method", ["dirichlet", "taylor"])
def test_classes_in_turn_are_in_both_halves(method: str) -> None:
    """Even and odd examples would be of different classes."""
    x, y = _data(2000, 1)
    places = [torch.nonzero(y == label)[:300, 0] for label in range(3)]
    # Labels 0, 1, 0, 2: every other example is of the first class.
    order = torch.stack([places[0], torch.stack([places[1][:150], places[2][:150]], 1).flatten()])
    order = order.T.flatten()
    assert set(y[order][::2].tolist()) == {0}
    config = graphprune.CompressConfig(batch_size=32, round_to=1)
    result = graphprune.compress(
        _classifier(), x[:2], method=method, data=((x[order], y[order]), (x, y)), config=config
    )
    assert isinstance(result, graphprune.compressed.Compressed)
    (row,) = result.report.groups
    assert row.kept == tuple(range(LIVE))
    assert row.separated is not None
    assert row.separated >= 0.75


def test_what_cannot_be_kept_apart_has_no_halves() -> None:
    """A sampler of the user's own draws another half each time."""
    x, labels = _data(128, 1)
    data = TensorDataset(x, labels)
    batches = DataLoader(data, 32, sampler=SubsetRandomSampler(range(100)))
    assert not has_halves(batches)
    captured = graphprune.capture(_classifier(), x[:2])
    sites = switch_sites(graphprune.analyse(captured.module))
    found = learn_switches(captured, sites, batches, config=LearnConfig(max_steps=4, halves=True))
    assert found.halves == ()
    assert has_halves(DataLoader(data, 32))
    few = DataLoader(data, 100, shuffle=True)
    sides: list[set[float]] = [set(), set()]
    for _ in range(3):
        for place, (batch, _) in enumerate(InTurn(few)):
            sides[place % 2].update(batch[:, 0].tolist())
    assert [len(side) for side in sides] == [64, 64]


def test_halves_of_a_shuffled_loader_stay_apart_in_every_pass() -> None:
    numbers = torch.arange(40)
    loader = DataLoader(TensorDataset(numbers), 5, True, generator=torch.Generator().manual_seed(0))
    seen: list[set[int]] = [set(), set()]
    for _ in range(3):
        for place, (batch,) in enumerate(InTurn(loader)):
            seen[place % 2].update(batch.tolist())
    assert seen[0] | seen[1] == set(range(40))
    assert not seen[0] & seen[1]


def test_intervals_cover_what_was_to_be_estimated() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.normal(size=200) * 3)
    covered = []
    for _ in range(50):
        first, second = (truth + torch.from_numpy(rng.normal(size=200)) for _ in range(2))
        low, high = interval((first + second) / 2, [first, second], 0.9)
        covered.append(float(((low <= truth) & (truth <= high)).double().mean()))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


def test_channels_that_differ_by_chance_are_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        first, second = (torch.from_numpy(rng.normal(size=64)) for _ in range(2))
        centre = (first + second) / 2
        kept = np.argsort(np.argsort(centre.numpy())) >= 32
        found.append(separated(interval(centre, [first, second], 0.9), kept))
    assert np.quantile(found, 0.95) < INDISTINCT
