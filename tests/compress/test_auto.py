"""Target ``auto``: what goes, what stays, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from planted import PLANTED, Planted
from torch import nn

from graphprune import (
    Analysis,
    AutoTarget,
    CompressConfig,
    LearnConfig,
    analyse,
    capture,
    choose,
    compress,
    cut_off,
    cutting,
    parse_target,
    score_channels,
)
from graphprune.choosing.budget import Choice
from graphprune.choosing.thinning import Thinning
from graphprune.compressed import Compressed
from graphprune.errors import TargetError, UsageError
from graphprune.exporters.report import Report
from graphprune.importance.learn import LearnResult
from graphprune.importance.methods import make_method
from graphprune.importance.scoring import Scores
from graphprune.switches.dirichlet import Dirichlet
from graphprune.switches.group_lasso import LassoScale

SPREAD = LearnConfig(epochs=30, kl_weight=0.03, spread=True)


class Known(LassoScale):
    """A switch of which the probabilities are given."""

    def __init__(self, below: Sequence[float]) -> None:
        super().__init__(len(below))
        self.known = torch.tensor(below, dtype=torch.float64)

    def below(self, share: float) -> torch.Tensor:
        del share
        return self.known


def known(below: dict[str, Sequence[float]], importance: dict[str, Sequence[float]]) -> Scores:
    """Scores as if switches had been learned."""
    by_group = {name: torch.tensor(values) for name, values in importance.items()}
    switches = {name: Known(values) for name, values in below.items()}
    learned = LearnResult(by_group, {}, {}, {}, [], 0.0, Dirichlet(), None, dict(switches))
    return Scores(by_group, "dirichlet", learned)


def gone(analysis: Analysis, choice: Choice) -> dict[str, list[int]]:
    """Numbers of the channels that went, by group."""
    stays = choice.plan.classes(analysis)
    return {
        group.name: [n for n, one in enumerate(group.channels) if not stays[one]]
        for group in analysis.groups
    }


def mlp() -> Analysis:
    """Two groups, ``0.weight`` of 4 channels and ``2.weight`` of 3."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    return analyse(capture(model.eval(), torch.rand(2, 3)).module)


IMPORTANCE = {"0.weight": [1.0, 2.0, 3.0, 4.0], "2.weight": [1.0, 3.0, 2.0]}


def test_what_reaches_the_confidence_goes() -> None:
    below = {"0.weight": [0.95, 0.9499, 0.2, 1.0], "2.weight": [0.0, 0.94, 0.1]}
    analysis, scores = mlp(), known(below, IMPORTANCE)
    choice = cut_off(analysis, scores, AutoTarget(0.95))
    assert gone(analysis, choice) == {"0.weight": [0, 3], "2.weight": []}
    assert choice.reached == pytest.approx(5 / 7)
    assert choice.plan.target == "auto{confidence=0.95,share=0.5}"
    assert "2 of 7 channels went" in choice.note
    assert "0.05 of them are expected to have more" in choice.note
    assert choice.below["0.weight"].tolist() == below["0.weight"]
    less = cut_off(analysis, scores, AutoTarget(0.94))
    assert gone(analysis, less) == {"0.weight": [0, 1, 3], "2.weight": [1]}


def test_the_most_important_channel_stays_of_what_all_lies_below() -> None:
    below = {"0.weight": [1.0] * 4, "2.weight": [0.99, 1.0, 1.0]}
    analysis = mlp()
    choice = cut_off(analysis, known(below, IMPORTANCE), AutoTarget())
    # Of the second group the least sure one: probability comes before importance.
    assert gone(analysis, choice) == {"0.weight": [0, 1, 2], "2.weight": [1, 2]}
    assert "Next to nothing is left of 0.weight, 2.weight" in choice.note
    assert "more confidence" in choice.note


def test_nothing_below_is_an_error_that_says_what_to_do() -> None:
    scores = known({"0.weight": [0.1, 0.713, 0.2, 0.0], "2.weight": [0.5] * 3}, IMPORTANCE)
    with pytest.raises(
        TargetError, match=r"surest channel with 71.3%; learn for more than \d+ steps"
    ) as caught:
        cut_off(mlp(), scores, AutoTarget())
    assert "\n" not in str(caught.value)


def test_channels_that_no_switch_scales_stay() -> None:
    scores = known({"0.weight": [1.0, 1.0]}, IMPORTANCE)
    analysis = mlp()
    choice = cut_off(analysis, scores, AutoTarget())
    assert gone(analysis, choice) == {"0.weight": [0, 1], "2.weight": []}


def heads(inside: float, whole: float) -> tuple[Analysis, Scores]:
    """Attention of two heads of four channels: ``whole`` for head 0, ``inside`` for one channel
    of each head; all other channels are surely important."""
    analysis = PLANTED["attention"]().analysis
    below, importance = {}, {}
    for group in analysis.groups:
        values = torch.zeros(group.size, dtype=torch.float64)
        place = {one: n for n, one in enumerate(group.channels.tolist())}
        for row in group.rows[:1]:
            values[[place[one] for one in row]] = whole
        for block in group.in_step:
            values[[place[cell[0]] for cell in block.cells]] = inside
        below[group.name] = values.tolist()
        importance[group.name] = [1.0] * group.size
    return analysis, known(below, importance)


@pytest.mark.parametrize(
    ("inside", "whole", "policy", "share"),
    [
        (1.0, 1.0, "both", 5 / 8),  # head 0 whole, one channel of head 1
        (1.0, 1.0, "whole", 4 / 8),
        (1.0, 1.0, "inside", 2 / 8),
        (1.0, 0.0, "both", 2 / 8),
        (0.9, 1.0, "both", 4 / 8),  # the head with 97.5 % on average; the column with 90 % not
        (0.9, 0.9, "both", None),
    ],
)
def test_what_goes_together_is_judged_together(
    inside: float, whole: float, policy: str, share: float | None
) -> None:
    analysis, scores = heads(inside, whole)
    if share is None:
        with pytest.raises(TargetError, match="removes nothing"):
            cut_off(analysis, scores, AutoTarget(), thinning=Thinning(policy))
        return
    choice = cut_off(analysis, scores, AutoTarget(), thinning=Thinning(policy))
    stays = choice.plan.classes(analysis)
    for group in analysis.groups:
        for block in group.in_step:
            cells = [one for cell in block.cells for one in cell]
            assert 1 - stays[cells].mean() == pytest.approx(share)


def cut(name: str, labels: bool, method: str) -> tuple[Planted, dict[str, list[int]]]:
    planted = PLANTED[name]()
    scores = score_channels(
        planted.captured,
        planted.analysis,
        make_method(method),
        planted.data if labels else planted.unlabelled,
        learn=SPREAD,
    )
    choice = cut_off(planted.analysis, scores, AutoTarget())
    small = cutting.cut(planted.captured, planted.analysis, choice.plan)
    assert cutting.prove(small, planted.analysis, choice.plan, seed=0).passed
    return planted, gone(planted.analysis, choice)


@pytest.mark.parametrize("method", ["dirichlet", "l0", "rdp", "sbp"])
def test_planted_channels_go_and_no_others(method: str) -> None:
    planted, went = cut("plain", False, method)
    assert went == {name: sorted(kinds.all) for name, kinds in planted.groups.items()}


@pytest.mark.parametrize("method", ["l0", "rdp", "sbp"])
def test_planted_channels_of_residual_streams_go_at_least(method: str) -> None:
    planted, went = cut("residual", False, method)
    for name, kinds in planted.groups.items():
        assert set(kinds.all) <= set(went[name])
    assert went["stem.weight"] == sorted(planted.groups["stem.weight"].all)


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("method", ["rdp", "sbp"])
def test_planted_channels_beside_attention_go_and_no_others(method: str, labels: bool) -> None:
    planted, went = cut("attention", labels, method)
    assert went["fc1.weight"] == sorted(planted.groups["fc1.weight"].all)


def test_from_python_to_the_report(tmp_path: Path) -> None:
    planted = PLANTED["plain"]()
    x = torch.cat([inputs[0] for inputs, _ in planted.data])
    learn = LearnConfig(epochs=30, kl_weight=0.03)
    config = CompressConfig(learn=learn, batch_size=16)
    module, fast = planted.captured.module, "dirichlet{lr=0.08}"
    result = compress(module, x[:2], target="auto", method=fast, data=x, config=config)
    assert isinstance(result, Compressed)
    assert result.certificate.passed
    assert result.plan.method == "dirichlet"
    assert result.plan.target == "auto{confidence=0.95,share=0.5}"
    assert result.report.reached["channels"] < 1
    learned = result.stages.scores.learned
    assert learned is not None
    assert learned.method == Dirichlet(variant="per-example", prior=0.1, lr=0.08)
    assert any("channels went" in note for note in result.report.notes)
    assert any("so few examples (" in note for note in result.report.notes)
    for group in result.report.groups:
        assert len(group.below) == group.before
        assert [n for n, p in enumerate(group.below) if p < 0.95] == list(group.kept)
    path = tmp_path / "report.json"
    result.report.write_json(path)
    assert Report.load(path).groups == result.report.groups


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("auto", AutoTarget(0.95, 0.5)),
        (" auto{} ", AutoTarget()),
        ("auto{confidence=0.8}", AutoTarget(0.8)),
        ("auto{share=1, confidence=0.5}", AutoTarget(0.5, 1.0)),
    ],
)
def test_targets_as_text(text: str, wanted: AutoTarget) -> None:
    assert parse_target(text) == wanted
    assert parse_target(str(wanted)) == wanted
    assert parse_target(wanted) is wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("auto{confidence=1}", "below 1"),
        ("auto{confidence=0.3}", "at least 0.5"),
        ("auto{confidence=nan}", "at least 0.5"),
        ("auto{share=0}", "above 0"),
        ("auto{share=1.5}", "at most 1"),
        ("auto{ratio=0.5}", "no option 'ratio'"),
        ("auto{confidence=high}", "'high'"),
        ("auto{confidence}", "key=value"),
        ("auto{", "auto{"),
        ("auto=0.5", "or auto"),
    ],
)
def test_targets_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("l2", "l2 gives scores alone"),
        ("taylor", "taylor gives scores alone"),
        ("gl", "gl learns no spread"),
        ("dirichlet{variant=mean}", "dirichlet learns no spread"),
    ],
)
def test_methods_that_are_never_sure_are_refused(method: str, says: str) -> None:
    planted = PLANTED["plain"]()
    x, y = planted.data[0][0][0], planted.data[0][1]
    with pytest.raises(TargetError, match="use bc-ghs, bc-gnj, dirichlet, gd, l0") as caught:
        compress(planted.captured.module, x, target="auto", method=method, data=(x, y))
    assert says in str(caught.value)


def test_what_does_not_go_with_it_is_refused() -> None:
    planted = PLANTED["plain"]()
    module, x = planted.captured.module, planted.data[0][0][0]
    with pytest.raises(TargetError, match="with --data"):
        compress(module, x, target="auto")
    with pytest.raises(TargetError, match="leave ranking global out"):
        compress(module, x, target="auto", data=x, config=CompressConfig(ranking="global"))
    scores = {group.name: torch.ones(group.size) for group in planted.analysis.groups}
    with pytest.raises(TargetError, match="cut_off"):
        choose(planted.analysis, scores, "auto")
    with pytest.raises(TargetError, match="l1 learned no switches"):
        cut_off(planted.analysis, Scores(scores, "l1"), AutoTarget())
    lasso = known({}, {name: values.tolist() for name, values in scores.items()})
    assert lasso.learned is not None
    lasso.learned.switches["conv1.weight"] = LassoScale(8)
    with pytest.raises(TargetError, match=r"no spread for conv1.weight.*spread=True"):
        cut_off(planted.analysis, lasso, AutoTarget())


class TwoRoads(nn.Module):
    """Its control flow depends on the data, so that it is captured in parts."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.two = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) if x.sum() > 0 else self.two(x)


def test_models_in_parts_have_no_auto() -> None:
    x = torch.rand(8, 4)
    with pytest.raises(UsageError, match="target auto learns from data, for which the whole model"):
        compress(TwoRoads().eval(), x[:2], target="auto", data=x)
