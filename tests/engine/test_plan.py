"""Plans and budgets: what is asked for is what the built model counts."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_networks import Program, network
from engine_oracle import LIMIT, compress, count, prune, random_scores, shrink
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.models import build
from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.budget import TOLERANCE, choose
from graphprune.choosing.cost import cost_model
from graphprune.choosing.plan import Plan, PlanError
from graphprune.delivery.measure import macs_per_example
from graphprune.errors import TargetError

PROGRAMS: tuple[Program, ...] = (
    (("transposed", 3, 3), ("depthwise", 1, 2), ("perceptron", 2, 1), ("squeeze", 2, 0)),
    (("attention", 1, 3), ("computed", 3, 0), ("grouped", 3, 2), ("split", 3, 1)),
)
PROGRAM: Program = (("residual", 3, 1), ("grouped", 2, 3), ("attention", 2, 1), ("dense", 3, 1))


def small_network() -> tuple[Captured, Analysis]:
    captured = capture(*network(PROGRAM))
    return captured, analyse(captured.module)


def counted_macs(captured: Captured, module: nn.Module) -> float:
    """Half the flops of one call, as torch counts them while the module runs."""
    # torch does not count the fused attention of the CPU; written out it is two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*captured.args, **captured.kwargs)
    return counter.get_total_flops() / 2


def test_json_round_trip(tmp_path: Path) -> None:
    captured, analysis = small_network()
    plan = choose(analysis, random_scores(analysis), "channels=0.5", method="random").plan
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again == plan
    assert again.method == "random"
    assert again.target == "channels=0.5"
    first, second = shrink(captured, analysis, plan), shrink(captured, analysis, again)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


def test_keep_is_the_inverse_of_the_indices() -> None:
    _, analysis = small_network()
    for seed, target in enumerate(("channels=0.3", "channels=0.5", "macs=0.6")):
        plan = choose(analysis, random_scores(analysis, seed), target).plan
        keep = plan.keep(analysis)
        for name, (labels, _) in analysis.leaves.items():
            assert keep.indices(labels) == plan.kept.get(name, {})


def test_kept_positions_are_those_of_the_sliced_weights() -> None:
    captured, analysis = small_network()
    plan = choose(analysis, random_scores(analysis), "channels=0.5").plan
    small = shrink(captured, analysis, plan).state_dict()
    rows_differ = 0
    for name, dims in plan.kept.items():
        expected = captured.module.state_dict()[name]
        by_row = {dim: kept for dim, kept in dims.items() if isinstance(kept[0], list)}
        for dim, kept in dims.items():
            if dim not in by_row:
                expected = expected.index_select(dim, torch.tensor(kept))
        for dim, rows in by_row.items():
            rows_differ += 1
            pairs = zip(expected, rows, strict=True)
            expected = torch.stack([row.index_select(dim - 1, torch.tensor(k)) for row, k in pairs])
        assert torch.equal(small[name], expected), name
    assert rows_differ


def test_a_plan_fits_one_model_only() -> None:
    _, analysis = small_network()
    plan = choose(analysis, random_scores(analysis), "channels=0.5").plan
    other = analyse(capture(*network((*PROGRAM, ("conv", 2, 1)))).module)
    with pytest.raises(PlanError, match="made for another model"):
        plan.keep(other)


def test_a_plan_that_contradicts_itself_is_refused() -> None:
    _, analysis = small_network()
    plan = choose(analysis, random_scores(analysis), "channels=0.5").plan
    for name, dims in plan.kept.items():
        for dim, kept in dims.items():
            torn = copy.deepcopy(plan.kept)
            torn[name][dim] = kept[:-1]  # one channel fewer than in what is coupled with it
            with pytest.raises(PlanError, match="contradicts itself"):
                dataclasses.replace(plan, kept=torn).keep(analysis)
    with pytest.raises(PlanError, match="does not have"):
        dataclasses.replace(plan, kept={**plan.kept, "nobody": {0: [0]}}).keep(analysis)


@pytest.mark.parametrize("text", ["[]", '{"format": 99}', '{"format": 1}', "{", ""])
def test_damaged_plans(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(PlanError):
        Plan.load(tmp_path / "plan.json")
    with pytest.raises(PlanError, match="cannot read"):
        Plan.load(tmp_path / "missing.json")


def test_plan_is_plain_json() -> None:
    _, analysis = small_network()
    plan = choose(analysis, random_scores(analysis), "channels=0.5").plan
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize("target", ["params=0.5", "params=0.8", "macs=0.5", "macs=0.7"])
@pytest.mark.parametrize("name", ["resnet20", "vit"])
def test_budgets_are_met_as_counted_on_the_built_model(name: str, target: str) -> None:
    captured = capture(*build(name))
    analysis = analyse(captured.module)
    choice = choose(analysis, random_scores(analysis), target)
    small = shrink(captured, analysis, choice.plan)
    if target.startswith("params"):
        reached = count(small) / count(captured.module)
    else:
        reached = counted_macs(captured, small) / counted_macs(captured, captured.module)
    assert reached == pytest.approx(choice.reached, rel=1e-6)
    assert reached == pytest.approx(float(target.partition("=")[2]), abs=TOLERANCE)
    assert choice.note == ""


class Recurrent(nn.Module):
    """LSTMs whose multiplications torch's counter does not see on a CPU, and a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.cell = nn.GRUCell(48, 20)
        self.head = nn.Linear(20, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = self.lstm(x)[0]
        state = x.new_zeros(x.shape[0], 20)
        for step in steps.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


@pytest.mark.parametrize("target", ["macs=0.5", "macs=0.3"])
def test_budgets_of_recurrent_networks(target: str) -> None:
    model = Recurrent().eval()
    captured = capture(model, torch.randn(2, 5, 6))
    analysis = analyse(captured.module)
    names = dict(model.named_parameters())
    matrices = {n: p for n, p in names.items() if p.ndim == 2 and not n.startswith("head")}
    dense = 5 * sum(p.numel() for p in matrices.values()) + model.head.weight.numel()
    assert macs_per_example(captured) == (dense, 1)
    assert sum(cost_model(analysis).node_macs.values()) == 2 * dense
    choice = choose(analysis, random_scores(analysis), target)
    small = dict(shrink(captured, analysis, choice.plan).named_parameters())
    left = 5 * sum(small[n].numel() for n in matrices) + small["head.weight"].numel()
    assert left / dense == pytest.approx(choice.reached, rel=1e-6)
    # One unit of the LSTM is some 3 % of the whole.
    assert choice.reached == pytest.approx(float(target.partition("=")[2]), abs=0.02)


@pytest.mark.parametrize("program", [PROGRAM, PROGRAMS[0], PROGRAMS[1]], ids=["a", "b", "c"])
def test_the_cost_model_counts_what_is_built(program: Program) -> None:
    captured = capture(*network(program))
    analysis = analyse(captured.module)
    plan = choose(analysis, random_scores(analysis), "channels=0.4").plan
    small, costs = shrink(captured, analysis, plan), cost_model(analysis)
    classes = np.ones(analysis.classes, dtype=bool)
    kept = plan.keep(analysis).atoms[:-1].numpy()
    assert costs.params(classes) == count(captured.module)
    assert costs.macs(classes) == counted_macs(captured, captured.module)
    classes[analysis.class_of[:-1][~kept]] = False
    assert costs.params(classes) == pytest.approx(count(small), abs=1e-6)
    assert costs.macs(classes) == pytest.approx(counted_macs(captured, small), rel=1e-9)


def test_an_unreachable_target_says_what_can_be_reached() -> None:
    captured, analysis = small_network()
    with pytest.raises(TargetError, match=r"params=0\.001 cannot be reached") as refused:
        choose(analysis, random_scores(analysis), "params=0.001")
    least = float(str(refused.value).split("params=")[2].split()[0])
    assert 0.001 < least < 1
    # What it says is true: a little above can be had.
    choice = choose(analysis, random_scores(analysis), f"params={least + 0.001:.4f}")
    small = shrink(captured, analysis, choice.plan)
    assert count(small) / count(captured.module) == pytest.approx(least, abs=0.01)


def test_nothing_to_remove() -> None:
    captured = capture(nn.Linear(3, 2), torch.randn(2, 3))
    with pytest.raises(TargetError, match="all are pinned"):
        choose(analyse(captured.module), {}, "channels=0.5")


def test_scores_decide_who_stays() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    analysis = analyse(capture(model, torch.randn(2, 3)).module)
    scores = {
        "0.weight": torch.tensor([5.0, 6, 7, 8, 9, 10]),
        "2.weight": torch.tensor([0.4, 0.1, 0.2, 0.3]),
    }
    local = choose(analysis, scores, "channels=0.5").plan
    assert local.kept["0.weight"] == {0: [3, 4, 5]}
    assert local.kept["2.weight"] == {0: [0, 3], 1: [3, 4, 5]}
    # Globally every channel of the second layer is worth less than any of the first.
    everywhere = choose(analysis, scores, "params=0.6", ranking="global").plan
    assert everywhere.widths["2.weight"][1] == 1
    assert everywhere.kept["2.weight"][0] == [0]
    with pytest.raises(TargetError, match="ranking"):
        choose(analysis, scores, "params=0.6", ranking="best")
    for given, words in (
        (torch.full((6,), float("nan")), "must be finite, but 6 of 6 are NaN or infinite"),
        (torch.ones(5), r"got a Tensor of shape \(5,\)"),
        ([1.0] * 6, "got a list"),
    ):
        with pytest.raises(TargetError, match=f"scores of group 0.weight .*{words}"):
            choose(analysis, {**scores, "0.weight": given}, "params=0.6")  # type: ignore[dict-item]
    with pytest.raises(TargetError, match=r"0\.weight .* got none; give those of every group"):
        choose(analysis, {"zzz": torch.ones(6)}, "params=0.6")


def test_capture_and_shrink_leave_the_callers_model_alone() -> None:
    model, inputs = network(PROGRAM)
    model.train()
    for module in list(model.modules())[::2]:
        module.training = False
    flags = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    compress(model, inputs)
    assert [module.training for module in model.modules()] == flags
    assert list(model.state_dict()) == list(before)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_dynamic_and_static_batch() -> None:
    model, inputs = network(PROGRAM)
    free, fixed = capture(model, inputs), capture(model, inputs, dynamic=False)
    assert (free.batch_dims, fixed.batch_dims) == ((0,), (None,))
    for captured in (free, fixed):
        result = prune(captured, analyse(captured.module), "channels=0.5")
        assert result.error <= LIMIT
    small = prune(free, analyse(free.module), "channels=0.5").small
    with torch.no_grad():
        many = torch.randn(5, *inputs[0].shape[1:])
        assert torch.allclose(small(many)[:2], small(many[:2]), atol=1e-5)
        assert small(many[:1]).shape == (1, 3)


def test_a_model_without_weights_can_be_analysed() -> None:
    real = analyse(capture(*network(PROGRAM)).module)
    model, (x,) = network(PROGRAM)
    found = analyse(capture(model.to("meta"), x.to("meta")).module)
    assert [(g.name, g.size, g.members) for g in found.groups] == [
        (g.name, g.size, g.members) for g in real.groups
    ]
    scores = random_scores(real)
    assert choose(found, scores, "macs=0.5").plan == choose(real, scores, "macs=0.5").plan
