"""Expected MACs against the cost model, and gates learned under a budget."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from planted import PLANTED, assert_planted_last, planted_residual
from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import capture
from graphprune.choosing.cost import cost_model
from graphprune.errors import UsageError
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.switches.expected_macs import ExpectedMacs
from graphprune.switches.flops import Flops, MeteredGate
from graphprune.switches.gate import Gate
from graphprune.switches.group_lasso import GroupLasso
from graphprune.switches.l0 import HardConcrete
from graphprune.switches.l0_arm import L0Arm
from graphprune.switches.method import SwitchGroup
from graphprune.switches.placement import switch_sites


class Lenet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU()
        )
        self.fc1, self.fc2 = nn.Linear(54, 10), nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(self.features(x).flatten(1))))


class Stream(nn.Module):
    """A residual stream that a depthwise convolution and a squeeze-and-excitation gate work on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.wide, self.deep = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.squeeze, self.excite = nn.Linear(12, 3), nn.Linear(3, 12)
        self.narrow = nn.Conv2d(12, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = torch.relu(self.deep(self.wide(x)))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3))))))
        x = x + self.narrow(y * gate[:, :, None, None])
        return self.head(torch.relu(self.grouped(x)).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(6, 24), nn.Linear(8, 6)
        self.fc1, self.fc2 = nn.Linear(6, 10), nn.Linear(10, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(mixed)
        return x + self.fc2(torch.relu(self.fc1(x)))


class Loop(nn.Module):
    """The contraction that feeds a group is fed by it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(x + self.mix(x))


def analysed(model: type[nn.Module], *shape: int) -> Analysis:
    return analyse(capture(model().eval(), torch.randn(2, *shape)).module)


NETWORKS: dict[str, Callable[[], Analysis]] = {
    "lenet": lambda: analysed(Lenet, 1, 12, 12),
    "stream": lambda: analysed(Stream, 2, 8, 8),
    "attention": lambda: analysed(Attention, 5, 6),
    "planted": lambda: planted_residual().analysis,
}


def open_but(analysis: Analysis, closed: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Probabilities of 1, and of 0 for the channels named."""
    found = {group.name: torch.ones(group.size) for group in analysis.groups}
    for name, channels in closed.items():
        found[name][channels] = 0
    return found


def counter(analysis: Analysis) -> Callable[[dict[str, torch.Tensor]], float]:
    """What the cost model counts of the channels with probability 1, as a share of all."""
    cost = cost_model(analysis)
    dense = cost.macs(np.ones(analysis.classes, dtype=bool))

    def counted(probabilities: dict[str, torch.Tensor]) -> float:
        classes = np.ones(analysis.classes, dtype=bool)
        for group in analysis.groups:
            classes[group.channels] = probabilities[group.name].numpy() > 0
        return cost.macs(classes) / dense

    return counted


@pytest.mark.parametrize("network", NETWORKS)
def test_all_open_is_the_dense_model(network: str) -> None:
    analysis = NETWORKS[network]()
    meter = ExpectedMacs(analysis)
    everything = np.ones(analysis.classes, dtype=bool)
    assert meter.dense == pytest.approx(cost_model(analysis).macs(everything))
    assert meter(open_but(analysis, {})).item() == pytest.approx(1, rel=1e-6)
    assert meter({}).item() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_closed_channels_cost_what_the_cost_model_says(network: str) -> None:
    analysis = NETWORKS[network]()
    meter, counted = ExpectedMacs(analysis), counter(analysis)
    assert analysis.groups
    for group in analysis.groups:
        for removed in range(1, group.size):
            given = open_but(analysis, {group.name: list(range(removed))})
            share = counted(given)
            assert meter(given).item() == pytest.approx(share, rel=1e-5), (group.name, removed)
            assert share < 1
    for _ in range(10):  # of all groups at once, some of each left
        closed = {g.name: torch.randperm(g.size)[: g.size // 2].tolist() for g in analysis.groups}
        given = open_but(analysis, closed)
        assert meter(given).item() == pytest.approx(counted(given), rel=1e-5)


def test_the_expectation_over_draws_and_its_gradient() -> None:
    """Exact for independent channels: groups of one contraction differ here."""
    analysis = NETWORKS["lenet"]()
    meter, counted = ExpectedMacs(analysis), counter(analysis)
    probabilities = {g.name: torch.rand(g.size, requires_grad=True) for g in analysis.groups}
    expected = meter(probabilities)
    drawn = [
        counted({n: torch.bernoulli(p.detach()) for n, p in probabilities.items()})
        for _ in range(400)
    ]
    error = float(np.std(drawn)) / len(drawn) ** 0.5
    assert abs(expected.item() - float(np.mean(drawn))) < 4 * error
    name, given = next(iter(probabilities.items()))
    gradients = torch.autograd.grad(expected, given)[0]
    for channel in range(given.numel()):  # linear in each probability
        ends = []
        for end in (0.0, 1.0):
            changed = given.detach().clone()
            changed[channel] = end
            ends.append(meter({**probabilities, name: changed}).item())
        assert gradients[channel].item() == pytest.approx(ends[1] - ends[0], abs=1e-5)


def test_what_a_group_that_feeds_itself_leaves_out() -> None:
    analysis = analysed(Loop, 3)
    (group,) = analysis.groups
    meter, counted = ExpectedMacs(analysis), counter(analysis)
    p = torch.tensor([0.2, 0.5, 0.9, 0.6])
    exact = 0.0
    for values in itertools.product((0.0, 1.0), repeat=4):
        z = torch.tensor(values)
        weight = torch.where(z > 0, p, 1 - p).prod().item()
        exact += weight * counted({group.name: z})
    mix = 16 / (12 + 16 + 8)
    left_out = mix * (p * (1 - p)).sum().item() / 16
    assert meter({group.name: p}).item() == pytest.approx(exact - left_out, rel=1e-5)
    assert left_out <= mix / (4 * 4)


def gates_of(method: Flops, analysis: Analysis) -> list[MeteredGate]:
    prepared = method.prepared(analysis)
    return [prepared.switch(SwitchGroup(g.name, g.size, batched=True)) for g in analysis.groups]


def test_the_penalty_begins_above_the_target() -> None:
    analysis = NETWORKS["lenet"]()
    share = ExpectedMacs(analysis)(
        {
            g.name: gate.open_probability()
            for g, gate in zip(analysis.groups, gates_of(Flops(), analysis), strict=True)
        }
    ).item()
    gates = gates_of(Flops(target=share - 0.1, strength=30.0), analysis)
    penalty = MeteredGate.joint_penalty(gates)
    assert penalty.item() == pytest.approx(3.0, rel=1e-3)
    penalty.backward()  # type: ignore[no-untyped-call]
    for gate in gates:
        assert all(p.grad is not None and bool((p.grad > 0).all()) for p in gate.parameters())
    assert MeteredGate.joint_penalty(gates_of(Flops(target=share + 0.01), analysis)).item() == 0
    alone = gates[0].penalty().item()
    assert alone > penalty.item()


@pytest.mark.parametrize("gate", [HardConcrete(lr=0.02), L0Arm(lr=0.05)])
def test_learning_stops_at_the_target(gate: HardConcrete | L0Arm) -> None:
    planted = planted_residual()
    result = learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.unlabelled,  # which wants every channel open
        Flops(gate=gate, target=0.6, strength=200.0).prepared(planted.analysis),
        config=LearnConfig(epochs=60),
    )
    opened = {}
    for name, switch in result.switches.items():
        assert isinstance(switch, Gate)
        opened[name] = switch.open_probability().detach()
    share = ExpectedMacs(planted.analysis)(opened).item()
    assert share == pytest.approx(0.6, abs=0.05)
    for name, scores in result.scores.items():
        torch.testing.assert_close(scores, opened[name])


def test_what_it_cannot_be_made_of() -> None:
    group = SwitchGroup("g", 3, batched=True)
    with pytest.raises(UsageError, match="prepared"):
        Flops().switch(group)
    with pytest.raises(UsageError, match="gl cannot be the gate"):
        Flops(gate=GroupLasso()).prepared(NETWORKS["lenet"]()).switch(group)
    with pytest.raises(UsageError, match="l2"):
        Flops(gate="l2")
    for options in ({"target": 1.0}, {"target": -0.1}, {"strength": 0.0}):
        with pytest.raises(UsageError, match=next(iter(options))):
            Flops(**options)  # type: ignore[arg-type]


def test_the_gate_may_be_named_with_options() -> None:
    method = Flops(gate="l0-arm{slope=3}")
    assert method.gate == L0Arm(slope=3)
    assert method.antithetic
    assert not Flops().antithetic
    assert method.step == L0Arm(slope=3).step


def test_planted_channels_rank_last_of_all() -> None:
    planted = PLANTED["plain"]()
    result = learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.unlabelled,
        Flops(gate=HardConcrete(), target=0.6).prepared(planted.analysis),
        config=LearnConfig(epochs=60, kl_weight=0.08),
    )
    assert_planted_last(planted, result.scores)
