"""What every registered kind of switch keeps to; a new one is tried by being registered."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from planted import PLANTED
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import capture
from graphprune.importance.learn import LearnResult, learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.methods import make_method
from graphprune.registry import SWITCHES
from graphprune.switches.base import Switch, total_penalty
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.switches.placement import switch_sites

NAMES = SWITCHES.names()
NEEDED = 3  # of six channels, the first ones
EXAMPLES = 1200  # for which defaults are made; as many a penalty is weighed for in these tests

pytestmark = pytest.mark.parametrize("name", NAMES)


class Parallel(nn.Module):
    """Six channels, each of which is an output."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 6), nn.Linear(6, 6, bias=False)
        with torch.no_grad():
            self.out.weight.copy_(torch.eye(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.hidden(x)))


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.head = nn.Conv2d(6, 8, 3), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        return self.head(torch.relu(self.conv2(x)).mean((2, 3)))


def method_of(name: str, analysis: Analysis) -> SwitchMethod:
    made = make_method(name)
    assert isinstance(made, SwitchMethod)
    assert made.name == name
    return made.prepared(analysis)


def switches_of(name: str) -> list[Switch]:
    """One for every group of a small network, settled for data with labels."""
    analysis = PLANTED["plain"]().analysis
    method = method_of(name, analysis).settled(teachable=True)
    assert method.step > 0
    return [method.switch(SwitchGroup(g.name, g.size, batched=True)) for g in analysis.groups]


def learn_parallel(name: str, seed: int = 0) -> LearnResult:
    """Learn which of six outputs are asked for: the loss wants the others at zero."""
    torch.manual_seed(3)
    model = Parallel().eval()
    nn.init.uniform_(model.hidden.bias, 0.5, 1.0)
    x = torch.randn(64, 4)
    captured = capture(model, x[:2])
    analysis = analyse(captured.module)
    with torch.no_grad():
        wanted = model(x) * (torch.arange(6) < NEEDED)
    data = [((x[i : i + 16],), wanted[i : i + 16]) for i in range(0, 64, 16)]

    def loss(output: object, target: object) -> torch.Tensor:
        assert isinstance(output, torch.Tensor)
        assert isinstance(target, torch.Tensor)
        return F.mse_loss(output, target, reduction="sum") / len(output)

    return learn_switches(
        captured,
        switch_sites(analysis),
        data,
        method_of(name, analysis),
        config=LearnConfig(epochs=30, kl_weight=64 / EXAMPLES, seed=seed),
        loss=loss,
    )


def test_scales_are_vectors_by_channel_or_by_example(name: str) -> None:
    for switch in switches_of(name):
        size = switch.size
        assert switch.sample().shape == (size,)
        assert switch.sample(3).shape == (3, size)
        assert switch.mean().shape == (size,)
        assert switch.importance().shape == (size,)
        assert switch.uncertainty().shape == (size,)
        assert switch.posterior().shape[-1] == size
        assert not switch.importance().requires_grad
        assert not switch.uncertainty().requires_grad
        assert not switch.posterior().requires_grad
        assert (switch.uncertainty() >= 0).all()
        switch.train()
        assert switch().shape == (size,)
        assert torch.equal(switch.eval()(), switch.mean())
        assert torch.isfinite(switch.train()()).all()


def test_a_switch_starts_near_the_identity(name: str) -> None:
    for switch in switches_of(name):
        assert (switch.mean() - 1).abs().max() < 0.5


def test_draws_differ_as_they_say(name: str) -> None:
    for switch in switches_of(name):
        draws = torch.stack([switch.sample() for _ in range(40)])
        assert (draws != draws[0]).any().item() == switch.is_random
        if switch.per_example:
            switch.train().examples = 20
            drawn = switch()
            assert drawn.shape == (20, switch.size)
            assert (drawn != drawn[0]).any()


def test_penalties_are_finite_differentiable_and_the_same_together(name: str) -> None:
    switches = switches_of(name)
    together = total_penalty(switches)
    assert together.shape == ()
    together.backward()  # type: ignore[no-untyped-call]
    for switch in switches:
        gradients = [p.grad for p in switch.parameters() if p.grad is not None]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert any(gradient.abs().sum() > 0 for gradient in gradients)
    assert torch.isfinite(together)


def test_the_channels_asked_for_are_found(name: str) -> None:
    result = learn_parallel(name)
    (group,) = result.scores
    scores, scale = result.scores[group], result.switches[group].mean().detach().cpu()
    assert scores[:NEEDED].min() > scores[NEEDED:].max()
    assert scale[:NEEDED].abs().min() > scale[NEEDED:].abs().max()
    for values in (*result.uncertainties.values(), *result.posteriors.values()):
        assert torch.isfinite(values).all()
    assert [step["kl"] for step in result.history]


def test_seeds_decide(name: str) -> None:
    def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
        return all(torch.equal(one[group], other[group]) for group in one)

    first = learn_parallel(name, seed=1).scores
    assert same(first, learn_parallel(name, seed=1).scores)


@pytest.mark.parametrize("labels", [True, False])
def test_ignored_channels_rank_last(name: str, labels: bool) -> None:
    """Below the average of those that are read; with labels in the average of all groups.

    Some of these contradict the network, so that it may be better off without a channel it reads.
    """
    planted = PLANTED["plain"]()
    result = learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.data if labels else planted.unlabelled,
        method_of(name, planted.analysis),
        config=LearnConfig(epochs=30, samples=2, kl_weight=96 / EXAMPLES),
    )
    ignored, read = [], []
    for group, kinds in planted.groups.items():
        scores = result.scores[group]
        ignored.append(scores[list(kinds.all)])
        read.append(scores[[n for n in range(len(scores)) if n not in kinds.all]])
        if not labels:
            assert ignored[-1].max() < read[-1].mean(), group
    assert torch.cat(ignored).mean() < torch.cat(read).mean()


def test_compressing_by_name_is_certified(name: str) -> None:
    torch.manual_seed(0)
    y = torch.randint(0, 3, (32,))
    x = torch.randn(32, 1, 6, 6) + y[:, None, None, None]
    result = compress(
        Tiny().eval(),
        x[:2],
        data=(x, y),
        method=name,
        target="channels=0.5",
        config=CompressConfig(batch_size=16, learn=LearnConfig(epochs=1)),
    )
    assert result.certificate.passed
    assert result.plan.method == name
    assert result.model(x).shape == (32, 3)
