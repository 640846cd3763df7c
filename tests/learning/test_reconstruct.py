"""What is left of a layer makes up for what was cut, as far as its inputs allow."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune import CompressConfig, Plan, analyse, capture, compress
from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.choosing.budget import choose
from graphprune.choosing.plan import plan_from_classes
from graphprune.cutting import cut, prove
from graphprune.errors import DataError, ModelError
from graphprune.training.reconstruct import ReconstructConfig, reconstruct


class Twins(nn.Module):
    """A residual block whose inner channels come in pairs of equals, so that half are spare."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.first = nn.Conv2d(6, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 6, 3, padding=1, bias=False)
        self.after = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)
        with torch.no_grad():
            for tensor in (self.first.weight, self.first.bias, self.norm.weight):
                assert tensor is not None
                tensor[width // 2 :] = tensor[: width // 2]
            nn.init.uniform_(self.after.running_var, 0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = torch.relu_(self.norm(self.first(x)))
        y = self.after(self.second(y))
        y += x
        return self.head(torch.relu(y).mean((2, 3)))


def batches(count: int = 4) -> list[tuple[torch.Tensor, None]]:
    return [(torch.randn(8, 3, 6, 6), None) for _ in range(count)]


def without(analysis: Analysis, group: str, channels: list[int]) -> Plan:
    """The plan that removes these channels of one group."""
    (found,) = [g for g in analysis.groups if g.name == group]
    kept = torch.ones(analysis.classes, dtype=torch.bool).numpy()
    kept[found.channels[channels]] = False
    return plan_from_classes(analysis, kept, target="by hand", method="by hand")


def cut_twins() -> tuple[Captured, Captured, Analysis, Plan]:
    """The whole model, the one without the second of each pair, and how it was cut."""
    torch.manual_seed(0)
    whole = capture(Twins().eval(), torch.randn(2, 3, 6, 6))
    analysis = analyse(whole.module)
    plan = without(analysis, "first.weight", [4, 5, 6, 7])
    return whole, cut(whole, analysis, plan), analysis, plan


def gap(one: Captured, other: Captured) -> float:
    x = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        return float((one.module(x) - other.module(x)).abs().max())


def test_spare_channels_are_made_up_for() -> None:
    whole, small, analysis, plan = cut_twins()
    assert gap(whole, small) > 0.01
    before = {name: p.detach().clone() for name, p in whole.module.named_parameters()}
    found = reconstruct(small, analysis, plan, batches(), ReconstructConfig(steps=200))
    fits = found.fits
    assert found.kept
    assert found.before > 1e-4 > 1e-6 > found.after
    assert gap(whole, small) < 1e-4
    assert fits["conv2d_2"].before > 1e-3 > 1e-6 > fits["conv2d_2"].after
    for name, tensor in whole.module.named_parameters():
        assert torch.equal(tensor, before[name]), name
    assert prove(small, analysis, plan, 0, trained=True).shrink_error is not None


def test_a_constant_channel_moves_into_the_shift_of_the_norm() -> None:
    torch.manual_seed(0)
    model = Twins().eval()
    with torch.no_grad():
        model.first.weight[5] = 0  # the channel answers the same everywhere
        model.second.weight[:, 5] = 0
        model.second.weight[:, 5, 1, 1] = torch.randn(6)
        model.norm.bias[5] = 2.0
        model.second.weight[:, :5] *= 1e-3  # no other channel can stand in
        model.second.weight[:, 6:] *= 1e-3
    whole = capture(model, torch.randn(2, 3, 6, 6))
    analysis = analyse(whole.module)
    plan = without(analysis, "first.weight", [5])
    small = cut(whole, analysis, plan)
    shift = small.module.get_parameter("after.bias").detach().clone()
    apart = gap(whole, small)
    reconstruct(small, analysis, plan, batches(), ReconstructConfig(steps=50))
    assert gap(whole, small) < 0.01 * apart
    assert not torch.equal(small.module.get_parameter("after.bias"), shift)
    assert torch.equal(
        small.module.get_parameter("after.weight"), whole.module.get_parameter("after.weight")
    )


def test_frozen_and_shared_parameters_stay() -> None:
    torch.manual_seed(0)
    model = Twins().eval()
    model.second.weight.requires_grad_(False)
    whole = capture(model, torch.randn(2, 3, 6, 6))
    analysis = analyse(whole.module)
    plan = without(analysis, "first.weight", [4, 5])
    small = cut(whole, analysis, plan)
    frozen = small.module.get_parameter("second.weight").detach().clone()
    fits = reconstruct(small, analysis, plan, batches()).fits
    assert torch.equal(small.module.get_parameter("second.weight"), frozen)
    assert "batch_norm_1" in fits  # whose scale and shift are free


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.twice = nn.Linear(5, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.twice(torch.relu(self.into(x))))
        return self.twice(x).sum(1)


def test_a_layer_that_is_called_twice_stays() -> None:
    torch.manual_seed(0)
    whole = capture(Shared().eval(), torch.randn(2, 5))
    analysis = analyse(whole.module)
    plan = without(analysis, analysis.groups[0].name, [0, 3])
    small = cut(whole, analysis, plan)
    twice = small.module.get_parameter("twice.weight").detach().clone()
    fits = reconstruct(small, analysis, plan, [(torch.randn(16, 5), None) for _ in range(4)]).fits
    assert torch.equal(small.module.get_parameter("twice.weight"), twice)
    assert list(fits) == ["linear"]


def test_what_brings_the_answers_no_nearer_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, small, analysis, plan = cut_twins()
    before = {name: p.detach().clone() for name, p in small.module.named_parameters()}
    answers = iter([0.2, 0.3])
    monkeypatch.setattr("graphprune.training.reconstruct._distance", lambda *_: next(answers))
    found = reconstruct(small, analysis, plan, batches())
    assert found.fits
    assert not found.kept
    assert "left as they were cut" in found.describe()
    for name, tensor in small.module.named_parameters():
        assert torch.equal(tensor, before[name]), name


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(4, 6), nn.Linear(6, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.out(torch.relu(self.layer(x))) + 0 * self.calls


def test_a_model_that_writes_into_its_buffers_is_refused_before_the_work() -> None:
    data = (torch.randn(16, 4), torch.randint(0, 2, (16,)))
    config = CompressConfig(reconstruct=True)
    with pytest.raises(ModelError, match="writes into its own calls") as error:
        compress(Counts().eval(), torch.randn(2, 4), data=data, method="l2", config=config)
    assert "\n" not in str(error.value)


def test_without_data_it_is_refused() -> None:
    with pytest.raises(DataError, match="reconstruction needs data"):
        compress(Twins(), torch.randn(2, 3, 6, 6), config=CompressConfig(reconstruct=True))
    _, small, analysis, plan = cut_twins()
    with pytest.raises(DataError, match="no data"):
        reconstruct(small, analysis, plan, [])


def test_large_activations_take_fewer_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(count: int) -> list[tuple[torch.Tensor, None]]:
        class Counted(list[tuple[torch.Tensor, None]]):
            def __iter__(self):  # type: ignore[no-untyped-def]
                for number, batch in enumerate(super().__iter__()):
                    seen.append(number)
                    yield batch

        return Counted(batches(count))

    _, small, analysis, plan = cut_twins()
    reconstruct(small, analysis, plan, counted(6))
    assert len(seen) == 6
    seen.clear()
    monkeypatch.setattr("graphprune.training.reconstruct._LARGEST_BYTES", 3 * 8 * 6 * 6 * 6 * 4)
    reconstruct(small, analysis, plan, counted(6))
    assert len(seen) == 4  # the fourth finds no room


def test_a_compression_is_better_for_it_and_proved() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(64, 5)).eval()
    x = torch.randn(256, 1, 6, 6)
    data = (x, model(x).argmax(1).detach())
    plain, fitted = (
        compress(model, x[:2], data=data, method="l2", config=CompressConfig(reconstruct=yes))
        for yes in (False, True)
    )
    assert plain.plan.kept == fitted.plan.kept
    held = [result.stages.evaluations["pruned"]["accuracy"] for result in (plain, fitted)]
    assert held[1] > held[0]
    assert fitted.certificate.passed
    assert "reconstruct" in fitted.stages.seconds
    assert any("3 layers were fitted" in note for note in fitted.stages.notes)


class Routed(nn.Module):
    """Each expert gets the rows that choose it, which may be none, and others once it is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.gate = nn.Linear(5, 8), nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.into(x))
        chosen = self.gate(x).argmax(1)
        out = torch.zeros(x.shape[0], 4)
        for number, expert in enumerate(self.experts):
            (rows,) = torch.where(chosen == number)
            out = out.index_add(0, rows, expert(x[rows]))
        return out


def test_experts_that_get_other_rows_or_none_stay() -> None:
    torch.manual_seed(0)
    model = Routed().eval()
    with torch.no_grad():
        assert model.gate.bias is not None
        model.gate.bias[2] = -100.0  # nobody asks the last one
    whole = capture(model, torch.randn(6, 5))
    analysis = analyse(whole.module)
    plan = without(analysis, analysis.groups[0].name, [0, 3, 5])
    small = cut(whole, analysis, plan)
    last = small.module.get_parameter("experts.2.weight").detach().clone()
    found = reconstruct(small, analysis, plan, [(torch.randn(16, 5), None) for _ in range(4)])
    assert "linear" in found.fits
    assert torch.equal(small.module.get_parameter("experts.2.weight"), last)


class Mixed(nn.Module):
    """Scores of attention with heads and examples in one dimension (baddbmm), thinned inside."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, 8) for _ in range(3))
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def heads(y: torch.Tensor) -> torch.Tensor:
            return y.unflatten(-1, (2, 4)).transpose(1, 2).flatten(0, 1)

        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        weights = torch.baddbmm(q.new_zeros(1), q, k.transpose(1, 2)).softmax(-1)
        mixed = (weights @ v).unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)
        return self.out(mixed).mean(1)


def test_layers_whose_channels_lie_beside_the_batch() -> None:
    torch.manual_seed(0)
    whole = capture(Mixed().eval(), torch.randn(2, 6, 5))
    analysis = analyse(whole.module)
    scores = {group.name: torch.rand(group.size) for group in analysis.groups}
    plan = choose(analysis, scores, "channels=0.5").plan
    data = [(torch.randn(9, 6, 5), None) for _ in range(4)]  # no multiple of what was captured
    found = reconstruct(cut(whole, analysis, plan), analysis, plan, data)
    assert {"linear", "linear_1"} <= found.fits.keys()  # queries and keys
    assert all(fit.after <= fit.before for fit in found.fits.values())
