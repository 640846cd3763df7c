"""The public Python call: what it promises to whoever calls it."""

from __future__ import annotations

import copy
import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

import graphprune
from graphprune import CompressConfig, FinetuneConfig, LearnConfig, compress
from graphprune.errors import (
    CertificateError,
    DataError,
    ModelError,
    TargetError,
    TrainingError,
    UsageError,
)
from graphprune.exporters.report import Report


class Net(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Conv2d(width, width, 3)
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(torch.relu(self.norm(self.conv(x))))
        return self.head(torch.tanh(self.last(x)).amax((2, 3)))


EXAMPLE = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def net() -> Net:
    torch.manual_seed(1)
    model = Net()
    nn.init.uniform_(model.norm.running_mean, -0.3, 0.3)
    nn.init.uniform_(model.norm.running_var, 0.5, 2.0)
    return model.eval()


def data(examples: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    y = torch.randint(0, 3, (examples,), generator=generator)
    x = torch.randn(examples, 2, 6, 6, generator=generator) + y[:, None, None, None]
    return x, y


ONE_PASS = LearnConfig(epochs=1)
QUICK = CompressConfig(batch_size=16, learn=ONE_PASS)


def test_the_callers_model_and_random_state_stay() -> None:
    model = net()
    model.train()
    model.norm.eval()
    model.conv.weight.requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    modes = {name: part.training for name, part in model.named_modules()}
    x, y = data()
    inputs = EXAMPLE.clone()
    seeds = (torch.get_rng_state(), random.getstate(), np.random.get_state())  # noqa: NPY002
    result = compress(model, inputs, data=(x, y), finetune_epochs=1, config=QUICK)
    assert torch.equal(torch.get_rng_state(), seeds[0])
    assert random.getstate() == seeds[1]
    assert str(np.random.get_state()) == str(seeds[2])  # noqa: NPY002
    assert {name: part.training for name, part in model.named_modules()} == modes
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert not model.conv.weight.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(inputs, EXAMPLE)
    assert torch.equal(x, data()[0])
    stored = {p.data_ptr() for p in model.parameters()}
    assert not stored & {p.data_ptr() for p in result.model.parameters()}


def test_what_comes_back() -> None:
    result = compress(net(), EXAMPLE)
    assert isinstance(result.model, fx.GraphModule)
    assert not result.model.training
    assert [n for n, _ in result.model.named_parameters()] == [
        n for n, _ in net().named_parameters()
    ]
    assert set(result.model.state_dict()) == set(net().state_dict())
    for name, dims in result.plan.kept.items():
        original, small = net().state_dict()[name], result.model.state_dict()[name]
        for dim, kept in dims.items():
            assert kept == sorted(kept)
            assert small.shape[dim] == len(kept)
            original = original.index_select(dim, torch.tensor(kept))
        assert torch.equal(small, original)  # no data: weights are only cut
    assert result.plan.widths == {"conv.weight": (8, 4), "last.weight": (8, 4)}
    assert result.model(torch.randn(5, 2, 6, 6)).shape == (5, 3)


def test_removing_nothing_changes_nothing() -> None:
    result = compress(net(), EXAMPLE, target="channels=1")
    x = torch.randn(4, 2, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(result.model(x), net()(x))


@pytest.mark.parametrize("method", ["random", "auto"])
def test_same_seed_same_result(method: str) -> None:
    given: dict[str, Any] = {"method": method, "data": data(), "finetune_epochs": 1}
    first, again = (compress(net(), EXAMPLE, config=QUICK, **given) for _ in range(2))
    assert first.plan == again.plan
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)


def test_random_depends_on_the_seed() -> None:
    plans = [
        compress(net(), EXAMPLE, method="random", config=replace(QUICK, seed=seed)).plan.kept
        for seed in range(4)
    ]
    assert any(plan != plans[0] for plan in plans[1:])


@pytest.mark.parametrize(
    ("target", "measure"), [("params=0.4", "params"), ("macs=0.5", "macs"), ("macs=30%", "macs")]
)
def test_budgets_are_met(target: str, measure: str) -> None:
    torch.manual_seed(0)
    report = compress(Net(width=48).eval(), EXAMPLE, target=target).report
    wanted = graphprune.parse_target(target).fraction
    assert report.reached[measure] == pytest.approx(wanted, abs=0.01)
    assert not [note for note in report.notes if "asked for" in note]


def test_a_budget_out_of_reach_says_what_can_be_reached() -> None:
    with pytest.raises(TargetError, match=r"cannot be reached.*macs=0\.\d+ remain") as caught:
        compress(net(), EXAMPLE, target="macs=0.001")
    reachable = float(str(caught.value).split("macs=")[2].split()[0])
    result = compress(net(), EXAMPLE, target=f"macs={reachable + 0.001}")
    assert result.report.reached["macs"] == pytest.approx(reachable, abs=0.002)


def test_report_survives_json(tmp_path: Any) -> None:
    report = compress(net(), EXAMPLE, data=data(), config=QUICK).report
    report.write_json(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report


def test_plan_survives_json(tmp_path: Any) -> None:
    plan = compress(net(), EXAMPLE).plan
    plan.save(tmp_path / "plan.json")
    assert graphprune.Plan.load(tmp_path / "plan.json") == plan


FORMS = {
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "inputs alone": lambda x, y: x,
    "dataset": torch.utils.data.TensorDataset,
    "loader": lambda x, y: torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=7
    ),
    "list of batches": lambda x, y: [(x[:24], y[:24]), (x[24:], y[24:])],
    "smaller than a batch": lambda x, y: (x[:3], y[:3]),
    "training and held out": lambda x, y: (
        torch.utils.data.TensorDataset(x[:40], y[:40]),
        torch.utils.data.TensorDataset(x[40:], y[40:]),
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=[name.replace(" ", "-") for name in FORMS])
def test_forms_of_data(form: Any) -> None:
    result = compress(net(), EXAMPLE, data=form(*data()), finetune_epochs=1, config=QUICK)
    assert result.report.method == "dirichlet"
    assert result.certificate.passed


@pytest.mark.parametrize("mended", [False, True])
def test_what_wins_lost_accuracy_back_is_said_once_it_is_not_used(mended: bool) -> None:
    model = net()
    x, _ = data(96)
    with torch.no_grad():
        labels = model(x).argmax(1)
    config = replace(QUICK, reconstruct=mended)
    found = compress(
        model, EXAMPLE, data=(x, labels), method="l2", target="macs=0.2", config=config
    )
    before, after = (found.stages.evaluations[name]["accuracy"] for name in ("dense", "pruned"))
    assert before == 1.0
    assert after < 0.98
    told = [note for note in found.report.notes if "--reconstruct" in note]
    if mended:
        assert not told
    else:
        assert told == [
            f"the cut cost {100 * (1 - after):.1f} points of accuracy: --reconstruct (seconds, no "
            "labels needed) or --finetune-epochs can win them back"
        ]


def test_without_labels_the_original_is_reproduced() -> None:
    """Fine-tuning towards the original's outputs brings the small model nearer to it."""
    x = data(96)[0]
    config = replace(QUICK, finetune=FinetuneConfig(lr=0.05))
    untrained, trained = (
        compress(net(), EXAMPLE, data=x, method="l2", finetune_epochs=epochs, config=config)
        for epochs in (0, 6)
    )
    before = untrained.report.models["pruned"].loss
    after = trained.report.models["pruned"].loss
    assert trained.report.models["dense"].loss == pytest.approx(0, abs=1e-9)
    assert before is not None
    assert after is not None
    assert after < 0.8 * before


CONFIGS = {
    "global": CompressConfig(ranking="global", learn=ONE_PASS),
    "no distillation": CompressConfig(
        distill=False, finetune=FinetuneConfig(optimizer="adamw"), learn=ONE_PASS
    ),
    "no looking": CompressConfig(evaluate=False, recalibrate=False, learn=ONE_PASS),
    "sequential sum": CompressConfig(learn=LearnConfig(mode="sequential", epochs=1)),
    "implicit": CompressConfig(learn=LearnConfig(samples=2, epochs=1)),
    "few steps": CompressConfig(learn=LearnConfig(max_steps=1)),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=[n.replace(" ", "-") for n in CONFIGS])
def test_configs(config: CompressConfig) -> None:
    config = replace(config, batch_size=16)
    result = compress(net(), EXAMPLE, data=data(), finetune_epochs=1, config=config)
    assert result.certificate.passed
    assert (result.report.models["pruned"].accuracy is None) == (not config.evaluate)
    steps = result.stages.scores.learned
    assert steps is not None
    assert all(np.isfinite(step["loss"]) for step in steps.history)


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        told.append((stage, done, total))

    config = replace(QUICK, progress=progress)
    compress(net(), EXAMPLE, data=data(), finetune_epochs=2, config=config)
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages.index("capture") < stages.index("learn") < stages.index("finetune")
    for stage in ("learn", "finetune"):
        counts = [(done, total) for name, done, total in told if name == stage]
        assert counts[-1][0] == counts[-1][1], f"{stage} ends full"


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    compress(net(), EXAMPLE, data=data(), finetune_epochs=1, config=QUICK)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"data": data(), "loss": lambda o, t: o.sum() * float("nan")}, TrainingError, "nan"),
        ({"data": data(), "loss": lambda o, t: 1.0}, UsageError, "float"),
        ({"data": data(), "loss": lambda o, t: torch.tensor(1.0)}, UsageError, "no gradient"),
        ({"data": data(), "loss": lambda o, t: 1 / 0}, UsageError, "ZeroDivisionError"),
        ({"loss": lambda o, t: o.sum()}, DataError, "leave it out"),
        ({"data": (data()[0], data()[1] + 1)}, DataError, "label 3 is out of range"),
        ({"data": torch.full((4, 2, 6, 6), float("nan"))}, DataError, "NaN"),
        ({"data": data()[0].double()}, DataError, "float64"),
        ({"data": data()[0][:, :1]}, DataError, "Nx2x6x6"),
        ({"data": 7}, DataError, "int"),
        ({"data": data()[0], "finetune_epochs": -1}, DataError, "give 0 or more"),
        ({"finetune_epochs": 1}, DataError, "needs data"),
        ({"method": "best"}, UsageError, "'best'"),
        ({"method": ["l1", "l2"]}, UsageError, "method is a list; give one name"),
        ({"method": None}, UsageError, "method is a NoneType; give one name"),
        ({"method": "dirichlet"}, UsageError, "learns from data"),
        ({"target": "macs=2"}, TargetError, "at most 1"),
        ({"example_inputs": "x"}, ModelError, "str"),
        ({"example_inputs": torch.randn(2, 3, 6, 6)}, ModelError, "torch.export cannot capture"),
        ({"model": 7}, ModelError, "int"),
        ({"config": CompressConfig(ranking="best")}, UsageError, "local, global, isomorphic"),
        ({"data": data(), "config": CompressConfig(batch_size=0)}, DataError, "at least 1"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], error: type[Exception], says: str) -> None:
    given = {"model": net(), "example_inputs": EXAMPLE} | change
    with pytest.raises(error) as caught:
        compress(given.pop("model"), given.pop("example_inputs"), **given)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["conv.weight", "norm.running_var"])
def test_values_that_are_not_finite_are_refused(name: str) -> None:
    model = net()
    model.state_dict()[name].view(-1)[0] = float("nan")
    with pytest.raises(ModelError, match=name):
        compress(model, EXAMPLE)


@pytest.mark.parametrize(
    ("name", "dim"), [("conv.weight", 0), ("norm.running_var", 0), ("last.weight", 1)]
)
def test_a_wrong_cut_is_no_result(name: str, dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrinking that keeps the wrong channels of one tensor does not get past the certificate."""
    module = sys.modules["graphprune.cutting"]
    original = module.run_passes

    def wrong(graph_module: fx.GraphModule, passes: Any) -> Any:
        result = original(graph_module, passes)
        with torch.no_grad():
            tensor = result.graph_module.state_dict()[name]
            tensor.copy_(tensor.roll(1, dims=dim))
        return result

    monkeypatch.setattr(module, "run_passes", wrong)
    with pytest.raises(CertificateError, match="relative error"):
        compress(net(), EXAMPLE, method="random")


def test_seeds_of_the_stages_can_differ() -> None:
    learn = LearnConfig(seed=3)
    assert (
        "seed 3" in compress(net(), EXAMPLE, config=CompressConfig(learn=learn)).certificate.inputs
    )
    assert "seed 4" in (
        compress(net(), EXAMPLE, config=CompressConfig(learn=learn, seed=4)).certificate.inputs
    )
