"""Curves say what a masked model is worth, and no more."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import fx, nn

from graphprune import CompressConfig, analyse, capture, compress
from graphprune.choosing.budget import choose
from graphprune.compressed import Compressed
from graphprune.criteria.magnitude import L2
from graphprune.curve import Curve, CurveConfig, Point, draw_curve
from graphprune.errors import DataError, TargetError, UsageError
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.scoring import score_channels
from graphprune.passes import GraphPass, PassResult
from graphprune.proof.masked import MaskedReference
from graphprune.searching.search import SearchConfig, search
from graphprune.training.feed import prepared


@dataclass(frozen=True)
class ClipRelu(GraphPass):
    """relu(x) becomes min(relu(x), 0.3)."""

    name: ClassVar[str] = "clip-relu"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        found = graph_module.graph.find_nodes(
            op="call_function", target=torch.ops.aten.relu.default
        )
        for node in found:
            node.target = torch.ops.aten.hardtanh.default
            node.args = (*node.args, 0.0, 0.3)
        return PassResult(graph_module, bool(found))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
    )


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(80, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, net()(x).argmax(1)


def accuracies(curve: Curve, method: str) -> list[float]:
    return [point.figures["accuracy"] for point in curve.points[method]]


def test_the_figures_are_those_of_the_masked_model() -> None:
    model, (x, y) = net(), data()
    ways = CompressConfig(batch_size=8)
    config = CurveConfig(kind="channels", fractions=(1.0, 0.5), controls=(), compress=ways)
    curve = draw_curve(model, x[:2], (x, y), method="l2", config=config)
    captured = capture(model, x[:2])
    held_out = list(prepared((x, y), captured, 8, None).held_out())
    analysis = analyse(captured.module)
    scores = score_channels(captured, analysis, L2(), None, learn=LearnConfig()).by_group
    keep = choose(analysis, scores, "channels=0.5").plan.keep(analysis)
    reference = MaskedReference(analysis, keep)
    right = sum(int((reference(*i).argmax(1) == t).sum()) for i, t in held_out)
    total = sum(len(t) for _, t in held_out)
    assert total < len(x)
    assert accuracies(curve, "l2") == [1.0, pytest.approx(right / total)]
    assert curve.dense["accuracy"] == 1.0
    assert [point.reached for point in curve.points["l2"]] == [1.0, 0.5]


def test_controls_come_along_and_budgets_are_counted() -> None:
    x, y = data()
    seen: list[tuple[int, int]] = []
    config = CurveConfig(
        fractions=(0.6, 0.3),
        compress=CompressConfig(
            learn=LearnConfig(max_steps=2),
            progress=lambda stage, done, total, _: (
                seen.append((done, total)) if stage == "curve" else None
            ),
        ),
    )
    curve = draw_curve(net(), x[:2], (x, y), config=config)
    assert list(curve.points) == ["dirichlet", "l2", "random"]
    for points in curve.points.values():
        assert [point.asked for point in points] == [0.6, 0.3]
        for point in points:
            assert point.reached == pytest.approx(point.asked, abs=0.08)
    assert seen == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ranking": "global", "round_to": 1},
        {"ranking": "isomorphic", "round_to": 2, "seed": 5},
        {"round_to": 4, "passes": (ClipRelu(),)},
    ],
)
@pytest.mark.parametrize("method", ["l2", "dirichlet{variant=implicit}", "vcnp"])
def test_each_point_is_what_compress_cuts_with_the_same_options(
    method: str, options: dict[str, Any]
) -> None:
    x, y = data()
    ways = CompressConfig(learn=LearnConfig(max_steps=3), batch_size=8, **options)
    config = CurveConfig(fractions=(0.7, 0.4), controls=(), compress=ways)
    (points,) = draw_curve(net(), x[:2], (x, y), method=method, config=config).points.values()
    for point in points:
        cut = compress(
            net(), x[:2], target=f"macs={point.asked}", method=method, data=(x, y), config=ways
        )
        assert cut.report.reached["macs"] == point.reached
        assert isinstance(cut, Compressed)
        assert cut.stages.evaluations["pruned"] == point.figures


def test_without_labels_the_distance_to_the_dense_model_counts() -> None:
    x, _ = data()
    config = CurveConfig(fractions=(0.8, 0.3), controls=())
    curve = draw_curve(net(), x[:2], x, method="l2", config=config)
    assert curve.measure == "distance"
    assert curve.dense["distance"] == pytest.approx(0, abs=1e-9)
    mild, strong = (point.figures["distance"] for point in curve.points["l2"])
    assert 0 < mild < strong


def test_budgets_out_of_reach_are_left_out() -> None:
    x, y = data()
    config = CurveConfig(kind="params", fractions=(0.5, 0.001), controls=())
    curve = draw_curve(net(), x[:2], (x, y), method="l2", config=config)
    assert [point.asked for point in curve.points["l2"]] == [0.5]
    with pytest.raises(TargetError, match=r"none of the budgets params=0\.001"):
        draw_curve(
            net(),
            x[:2],
            (x, y),
            method="l2",
            config=CurveConfig(kind="params", fractions=(0.001,), controls=()),
        )


def test_the_cheapest_budget_is_before_the_first_that_loses_too_much() -> None:
    def points(name: str, *values: float) -> list[Point]:
        budgets = (0.9, 0.6, 0.3)
        return [Point(b, b, {name: v}) for b, v in zip(budgets, values, strict=True)]

    curve = Curve("macs", {"accuracy": 0.9}, {"a": points("accuracy", 0.9, 0.8, 0.9)})
    assert curve.cheapest("a", 0.05) == Point(0.9, 0.9, {"accuracy": 0.9})
    assert curve.cheapest("a", 0.11) == Point(0.3, 0.3, {"accuracy": 0.9})
    assert Curve("macs", {"accuracy": 1.0}, curve.points).cheapest("a", 0.05) is None
    losses = Curve("macs", {"loss": 1.0}, {"a": points("loss", 0.9, 1.1, 1.4)})
    assert losses.cheapest("a", 0.2) == Point(0.6, 0.6, {"loss": 1.1})
    holes = Curve("macs", {"loss": 1.0}, {"a": points("loss", 0.9, math.nan, 1.0)})
    assert holes.cheapest("a", 0.2) == Point(0.9, 0.9, {"loss": 0.9})
    assert [p["figures"]["loss"] for p in holes.to_json()["points"]["a"]] == [0.9, None, 1.0]
    with pytest.raises(UsageError, match="no method 'x'; it has a"):
        losses.cheapest("x", 0.2)
    for margin in (-1.0, math.nan, math.inf, "0.1"):
        with pytest.raises(UsageError, match="margin is"):
            losses.cheapest("a", margin)  # type: ignore[arg-type]


def test_what_makes_no_sense_is_refused() -> None:
    x, y = data()
    with pytest.raises(UsageError, match="fractions above 0"):
        CurveConfig(fractions=(0.5, 1.5))
    for fractions in (("50%",), "50%", 0.5, (), (math.nan,)):
        with pytest.raises(UsageError, match="fractions above 0 and at most 1, such as"):
            CurveConfig(fractions=fractions)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"several names, such as \('random',\); got one text"):
        CurveConfig(controls="random")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="time"):
        CurveConfig(kind="time")
    with pytest.raises(DataError):
        draw_curve(net(), x[:2], (x[:, :, :4], y))
    with pytest.raises(DataError, match="--data"):
        draw_curve(net(), x[:2], None)


def test_controls_with_other_options_are_methods_of_their_own() -> None:
    x, y = data()
    controls = ("taylor{batches=1}", "taylor", "l2", "l2")
    config = CurveConfig(fractions=(0.6,), controls=controls, compress=CompressConfig(batch_size=8))
    curve = draw_curve(net(), x[:2], (x, y), method="taylor{batches=2}", config=config)
    assert list(curve.points) == ["taylor{batches=2}", "taylor{batches=1}", "taylor", "l2"]


def test_a_control_that_is_not_known_is_found_before_anything_is_learned() -> None:
    x, y = data()
    stages: list[str] = []
    ways = CompressConfig(progress=lambda stage, *_: stages.append(stage))
    config = CurveConfig(controls=("l3",), compress=ways)
    with pytest.raises(UsageError, match="'l3' is not known"):
        draw_curve(net(), x[:2], (x, y), config=config)
    assert not stages


@pytest.mark.parametrize("asked", [0.5, 0.2])
def test_fractions_are_of_the_model_that_was_given(asked: float) -> None:
    """Where weights are trained along, learned scales are parameters of what is cut, not of it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU())
    model.append(nn.Linear(48, 3)).eval()
    x, y = torch.randn(120, 6), torch.randint(0, 3, (120,))
    ways = CompressConfig(learn=LearnConfig(max_steps=3), batch_size=20, round_to=1)
    given: dict[str, Any] = {"method": "vcnp", "data": (x, y)}
    cut = compress(model, x[:2], target=f"params={asked}", config=ways, **given)
    config = CurveConfig(kind="params", fractions=(asked,), controls=(), compress=ways)
    ((point,),) = draw_curve(model, x[:2], (x, y), method="vcnp", config=config).points.values()
    trials = SearchConfig(trials=1, compress=ways)
    searched = search(model, x[:2], target=f"params={asked}", config=trials, **given)
    left = sum(p.numel() for p in cut.model.parameters())
    whole = sum(p.numel() for p in model.parameters())
    assert left / whole == pytest.approx(asked, abs=0.01)
    assert isinstance(cut, Compressed)
    assert cut.stages.choice.reached == pytest.approx(left / whole)
    assert point.reached == pytest.approx(left / whole)
    (row,) = searched.stages.trials
    assert row.reached == pytest.approx(searched.report.reached["params"])
    assert not [note for note in cut.report.notes if "asked for" in note]


def test_a_budget_missed_by_a_model_trained_along_has_its_note() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU())
    model.append(nn.Linear(12, 3)).eval()
    x, y = torch.randn(120, 6), torch.randint(0, 3, (120,))
    ways = CompressConfig(learn=LearnConfig(max_steps=3), batch_size=20, round_to=4)
    cut = compress(model, x[:2], target="params=0.5", method="vcnp", data=(x, y), config=ways)
    reached = cut.report.reached["params"]
    assert abs(reached - 0.5) > 0.01
    assert any(f"asked for params=0.5, reached params={reached:.4f}" in n for n in cut.report.notes)


@pytest.mark.parametrize(
    ("method", "controls", "says"),
    [
        ("vcnp", ("l2", "random"), "vcnp: the weights were trained along .* those of l2, random"),
        ("l2", ("vcnp",), "vcnp: the weights were trained along .* those of l2 are"),
        ("vcnp", (), None),
        ("l2", ("random",), None),
    ],
)
def test_weights_trained_along_are_not_compared_in_silence(
    method: str, controls: tuple[str, ...], says: str | None
) -> None:
    x, y = data()
    ways = CompressConfig(learn=LearnConfig(max_steps=2), batch_size=8)
    config = CurveConfig(fractions=(0.7,), controls=controls, compress=ways)
    curve = draw_curve(net(), x[:2], (x, y), method=method, config=config)
    assert len(curve.notes) == (says is not None)
    assert says is None or re.search(says, curve.notes[0])
    assert curve.to_json()["notes"] == list(curve.notes)
