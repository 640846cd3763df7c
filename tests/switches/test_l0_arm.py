"""The ARM estimator against exact enumeration of all gates."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from planted import PLANTED, assert_planted_last

from graphprune.errors import UsageError
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.switches.l0_arm import ArmGate, L0Arm
from graphprune.switches.method import SwitchGroup
from graphprune.switches.placement import switch_sites

LOG_ODDS = (-1.2, 0.4, 2.0)


def gates(log_odds: tuple[float, ...] = LOG_ODDS, **options: float) -> ArmGate:
    gate = ArmGate(len(log_odds), L0Arm(**options))
    with torch.no_grad():
        gate.phi.copy_(torch.tensor(log_odds) / gate.config.slope)
    return gate


def function(z: torch.Tensor) -> torch.Tensor:
    """Neither linear nor symmetric, of five gates."""
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0])
    return (2 * z @ weights).sin() + 2 * z @ weights - z[0] * z[3] + 3 * z[2] * z[4]


def expectation(probabilities: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(())
    for values in itertools.product((0.0, 1.0), repeat=probabilities.numel()):
        z = torch.tensor(values)
        weight = torch.where(z > 0, probabilities, 1 - probabilities).prod()
        total = total + weight * function(z)
    return total


def test_the_estimate_is_unbiased_for_gates_of_several_groups() -> None:
    switches = [gates(slope=7.0), gates((0.9, -0.3), slope=2.0)]
    probabilities = torch.cat([switch.open_probability() for switch in switches])
    exact = torch.autograd.grad(expectation(probabilities), [switch.phi for switch in switches])
    found: list[torch.Tensor] = []
    plain: list[torch.Tensor] = []
    for _ in range(3000):
        first = torch.cat([switch() for switch in switches])
        for switch in switches:
            switch.mirrored = True
        second = torch.cat([switch() for switch in switches])
        for switch in switches:
            switch.mirrored = False
            switch.phi.grad = None
            switch.mirrored_gradient(function(second) - function(first))
        found.append(torch.cat([s.phi.grad for s in switches if s.phi.grad is not None]))
        slopes = [(s._uniform - 0.5) * s.config.slope for s in switches]
        plain.append((function(first) - function(second)) * torch.cat(slopes))
    estimates = torch.stack(found)
    error = estimates.std(0) / math.sqrt(len(found))
    deviation = (estimates.mean(0) - torch.cat(exact)).abs() / error
    assert deviation.max() < 4
    # Far enough from zero for a wrong sign to be noticed.
    assert (torch.cat(exact).abs() > 5 * error).all()
    # A gate that both draws have alike is told nothing by their difference.
    assert (estimates.var(0) < torch.stack(plain).var(0)).all()
    surest = int((probabilities - 0.5).abs().argmax())
    assert estimates[:, surest].var() < 0.6 * torch.stack(plain)[:, surest].var()


def test_estimates_add_up_in_the_gradient() -> None:
    gate = gates()
    gate()
    gate.mirrored_gradient(torch.tensor(1.0))
    assert gate.phi.grad is not None
    once = gate.phi.grad.clone()
    gate.mirrored_gradient(torch.tensor(1.0))
    torch.testing.assert_close(gate.phi.grad, 2 * once)


def test_both_draws_have_the_probability_and_the_computed_deviation() -> None:
    gate, count = gates(), 5_000
    pairs = []
    for _ in range(count):
        gate.mirrored = False
        first = gate.sample()
        gate.mirrored = True
        pairs.append(torch.stack([first, gate.sample()]))
    draws = torch.stack(pairs)
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    error = 4 * 0.5 / math.sqrt(count)
    expected = torch.tensor(LOG_ODDS).sigmoid().expand(2, 3)
    torch.testing.assert_close(draws.mean(0), expected, rtol=0, atol=error)
    torch.testing.assert_close(gate.mean().detach(), expected[0])
    torch.testing.assert_close(
        draws.std(0), gate.uncertainty().expand(2, 3), rtol=0, atol=1.5 * error
    )
    # Mirrored: both draws of a fair gate are opposite, and surely the same of a sure one.
    fair = gates((0.0, 12.0))
    first = fair()
    fair.mirrored = True
    assert torch.equal(first[0], 1 - fair()[0])
    assert first[1] == fair()[1] == 1


def test_the_penalty_is_the_expected_number_of_open_gates() -> None:
    gate = gates(strength=3.0)
    torch.testing.assert_close(gate.penalty(), 3 * torch.tensor(LOG_ODDS).sigmoid().sum())
    torch.testing.assert_close(gate.importance(), torch.tensor(LOG_ODDS).sigmoid())
    torch.testing.assert_close(gate.posterior(), torch.tensor(LOG_ODDS))


def test_one_draw_for_the_batch_and_none_of_its_gradient() -> None:
    gate = L0Arm().switch(SwitchGroup("g", 4, batched=True))
    assert not gate.per_example
    assert not gate().requires_grad
    assert torch.equal(*gate.sample(2))
    assert L0Arm().antithetic


@pytest.mark.parametrize("option", ["strength", "initial", "slope", "pairs", "lr", "weights_lr"])
def test_bad_settings_are_named(option: str) -> None:
    with pytest.raises(UsageError, match=option):
        L0Arm(**{option: -1.0})  # type: ignore[arg-type]


def test_planted_channels_rank_last_of_all() -> None:
    planted = PLANTED["plain"]()
    result = learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.unlabelled,
        L0Arm(),
        config=LearnConfig(epochs=40, samples=2, kl_weight=0.08, limit_penalty=False),
    )
    assert_planted_last(planted, result.scores)
