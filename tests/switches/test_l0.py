"""Hard concrete gates against the density of the stretched relaxed Bernoulli."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from planted import PLANTED, assert_planted_last
from scipy.integrate import quad
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

from graphprune.errors import UsageError
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.switches.l0 import HardConcrete, HardConcreteGate
from graphprune.switches.method import SwitchGroup
from graphprune.switches.placement import switch_sites

LOCATIONS = (-4.0, -0.7, 0.0, 1.3, 5.0)


def gates(**options: object) -> HardConcreteGate:
    config = HardConcrete(**options)  # type: ignore[arg-type]
    gate = HardConcreteGate(len(LOCATIONS), config)
    with torch.no_grad():
        gate.log_alpha.copy_(torch.tensor(LOCATIONS))
    return gate


def integrated(gate: HardConcreteGate, function: Callable[[float], float]) -> torch.Tensor:
    """E[function(gate)] by integrating over the logits of eq. 10, piece by piece of eq. 11."""
    gamma, zeta = gate.config.gamma, gate.config.zeta
    closed, opened = (math.log((t - gamma) / (zeta - t)) for t in (0.0, 1.0))
    answers = []
    for location in LOCATIONS:
        density = LogitRelaxedBernoulli(
            torch.tensor(gate.config.beta, dtype=torch.float64),
            logits=torch.tensor(location, dtype=torch.float64),
        )

        def weighted(logit: float, density: LogitRelaxedBernoulli = density) -> float:
            stretched = (zeta - gamma) / (1 + math.exp(-logit)) + gamma
            value = torch.tensor(logit, dtype=torch.float64)
            return function(min(1, max(0, stretched))) * density.log_prob(value).exp().item()

        ends = (-60.0, closed, opened, 60.0)
        parts = (quad(weighted, low, high, limit=200) for low, high in itertools.pairwise(ends))
        answers.append(sum(part[0] for part in parts))
    return torch.tensor(answers)


@pytest.mark.parametrize("options", [{}, {"beta": 0.4, "gamma": -0.3, "zeta": 1.05}])
def test_probability_and_moments_are_those_of_the_density(options: dict[str, float]) -> None:
    gate = gates(**options)
    opened = integrated(gate, lambda z: float(z > 0))
    torch.testing.assert_close(gate.open_probability(), opened, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gate.importance(), opened, rtol=1e-5, atol=1e-6)
    first, second = integrated(gate, lambda z: z), integrated(gate, lambda z: z * z)
    for actual, expected in zip(gate.moments(), (first, second), strict=True):
        torch.testing.assert_close(actual.float(), expected, rtol=1e-5, atol=1e-6)
    deviation = (second - first.square()).sqrt()
    torch.testing.assert_close(gate.uncertainty(), deviation, rtol=1e-4, atol=1e-5)


def test_the_penalty_is_the_expected_number_of_open_channels() -> None:
    gate = gates(strength=3.0)
    opened = integrated(gate, lambda z: float(z > 0)).sum()
    torch.testing.assert_close(gate.penalty(), 3 * opened, rtol=1e-5, atol=1e-5)


def test_draws_have_the_computed_probability_mean_and_deviation() -> None:
    gate, count = gates(), 100_000
    draws = gate.sample(count).detach()
    assert draws.shape == (count, len(LOCATIONS))
    assert draws.min() == 0
    assert draws.max() == 1
    error = 4 * 0.5 / math.sqrt(count)
    torch.testing.assert_close(
        (draws > 0).float().mean(0), gate.open_probability().detach(), rtol=0, atol=error
    )
    torch.testing.assert_close(draws.mean(0), gate.moments()[0].float(), rtol=0, atol=error)
    torch.testing.assert_close(draws.std(0), gate.uncertainty(), rtol=0, atol=error)


def test_the_gradient_of_draws_is_that_of_the_moment() -> None:
    gate = gates()
    (sampled,) = torch.autograd.grad(gate.sample(200_000).square().mean(0).sum(), gate.log_alpha)
    step = 1e-3
    moments = []
    for sign in (1, -1):
        with torch.no_grad():
            gate.log_alpha.copy_(torch.tensor(LOCATIONS) + sign * step)
        moments.append(gate.moments()[1])
    slope = ((moments[0] - moments[1]) / (2 * step)).float()
    torch.testing.assert_close(sampled, slope, rtol=0.03, atol=2e-3)


def test_the_gate_at_test_time_is_equation_13() -> None:
    expected = [min(1, max(0, 1.2 / (1 + math.exp(-a)) - 0.1)) for a in LOCATIONS]
    torch.testing.assert_close(gates().mean(), torch.tensor(expected))
    torch.testing.assert_close(gates().eval()(), torch.tensor(expected))


def test_extreme_locations_stay_finite() -> None:
    gate = gates()
    with torch.no_grad():
        gate.log_alpha.copy_(torch.tensor([-1e3, -50, 0, 50, 1e3]))
    value = gate.sample(1000).sum() + gate.penalty()
    value.backward()  # type: ignore[no-untyped-call]
    assert gate.log_alpha.grad is not None
    assert torch.isfinite(gate.log_alpha.grad).all()
    assert torch.isfinite(gate.uncertainty()).all()


def test_per_example_draws_need_the_batch_in_front() -> None:
    method = HardConcrete(variant="per-example")
    assert method.switch(SwitchGroup("g", 3, batched=True)).per_example
    assert not method.switch(SwitchGroup("g", 3, batched=False)).per_example
    assert not HardConcrete(variant="shared").switch(SwitchGroup("g", 3, batched=True)).per_example


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"variant": "often"}, "often"),
        ({"strength": 0.0}, "strength"),
        ({"initial": 1.0}, "initial"),
        ({"beta": math.nan}, "beta"),
        ({"gamma": 0.1}, "gamma"),
        ({"zeta": 1.0}, "zeta"),
        ({"lr": -1.0}, "lr"),
    ],
)
def test_bad_settings_are_named(options: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        HardConcrete(**options)  # type: ignore[arg-type]


def test_planted_channels_rank_last_of_all() -> None:
    planted = PLANTED["plain"]()
    result = learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.unlabelled,
        HardConcrete(),
        config=LearnConfig(epochs=40, kl_weight=0.08),
    )
    assert_planted_last(planted, result.scores)
