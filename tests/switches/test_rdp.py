"""Radial switches against integrals over the Weibull and its hierarchical prior."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from planted import CASES_WHERE_ALL_OTHERS_HELP, PLANTED, assert_planted_last, learn_planted
from scipy import stats

from graphprune.errors import UsageError
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.switches.bc_gnj import GroupNormalJeffreys
from graphprune.switches.method import SwitchGroup
from graphprune.switches.placement import switch_sites
from graphprune.switches.rdp import Radial, RadialSwitch

CASES = [(8.0, 1.0), (2.0, 0.5), (1.0, 0.1), (0.6, 2.0)]


def switch_of(shape: float, scale: float, tau: float = 0.3) -> RadialSwitch:
    switch = RadialSwitch(1, Radial(tau=tau))
    with torch.no_grad():
        switch.log_shape.fill_(math.log(shape))
        switch.log_scale.fill_(math.log(scale))
    return switch


def expectation(distribution: stats.rv_continuous, function: object) -> float:
    """By the midpoints of a million slices of equal probability."""
    levels = (np.arange(1_000_000) + 0.5) / 1_000_000
    return float(np.mean(function(distribution.ppf(levels))))  # type: ignore[operator]


@pytest.mark.parametrize(("shape", "scale"), CASES)
def test_penalty_is_the_kl_of_radius_and_auxiliary_variable(shape: float, scale: float) -> None:
    tau = 0.3
    radius = stats.weibull_min(shape, scale=scale)
    square = scale**2 * math.gamma(1 + 2 / shape)
    rate = tau**2 + square
    posterior, prior = stats.gamma(1, scale=1 / rate), stats.gamma(0.5, scale=1 / tau**2)
    # log p(r | c), of which r² is Gamma(1/2, rate c): the factor 2 r turns the density to r's.
    mean_log_c = -float(np.euler_gamma) - math.log(rate)
    likelihood = mean_log_c / 2 - math.lgamma(0.5) - square / rate + math.log(2)
    # The power of r cancels: r^(2 (1/2 - 1)) · r = 1.
    auxiliary = expectation(posterior, lambda c: posterior.logpdf(c) - prior.logpdf(c))
    expected = -float(radius.entropy()) - likelihood + auxiliary
    switch = switch_of(shape, scale, tau)
    assert switch.penalty().item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("shape", "scale"), CASES)
def test_penalty_is_above_the_kl_from_the_half_cauchy(shape: float, scale: float) -> None:
    tau = 0.3
    radius, prior = stats.weibull_min(shape, scale=scale), stats.halfcauchy(scale=tau)
    exact = expectation(radius, lambda r: radius.logpdf(r) - prior.logpdf(r))
    gap = switch_of(shape, scale, tau).penalty().item() - exact
    assert gap > -1e-4
    if shape == 8:
        assert gap < 0.05  # nearly the KL itself where the radius is sure


@pytest.mark.parametrize(("shape", "scale"), CASES)
def test_moments_and_draws_are_the_weibull_s(shape: float, scale: float) -> None:
    torch.manual_seed(0)
    switch, exact = switch_of(shape, scale), stats.weibull_min(shape, scale=scale)
    assert switch.mean().item() == pytest.approx(exact.mean(), rel=1e-4)
    assert switch.uncertainty().item() == pytest.approx(exact.std(), rel=1e-3)
    assert switch.importance().item() == pytest.approx(exact.mean() / exact.std(), rel=1e-3)
    draws = switch.sample(20_000).detach().squeeze(1).numpy()
    assert stats.kstest(draws, exact.cdf).statistic < 0.015


def test_draws_carry_the_gradient_of_the_second_moment() -> None:
    torch.manual_seed(0)
    switch = switch_of(2.0, 0.5)
    parameters = [switch.log_shape, switch.log_scale]
    moment = torch.exp(2 * switch.log_scale + torch.lgamma(1 + 2 / switch.log_shape.exp()))
    expected = torch.autograd.grad(moment.sum(), parameters)
    actual = torch.autograd.grad(switch.sample(400_000).square().mean(), parameters)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.03, atol=1e-3)


def test_a_new_switch_is_near_the_identity() -> None:
    switch = RadialSwitch(5)
    torch.testing.assert_close(switch.mean(), torch.ones(5))
    assert switch.uncertainty().max().item() < 0.5


def test_the_prior_alone_shrinks_to_tau() -> None:
    switch = switch_of(8.0, 1.0)
    optimizer = torch.optim.Adam(switch.parameters(), 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        switch.penalty().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    square = switch.mean().item() ** 2 + switch.uncertainty().item() ** 2
    assert math.sqrt(square) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(("name", "labels"), CASES_WHERE_ALL_OTHERS_HELP)
def test_planted_channels_come_last(name: str, labels: bool) -> None:
    planted, scores = learn_planted(name, labels, Radial())
    assert_planted_last(planted, scores)


def test_its_steps_fall_to_zero_over_the_second_half() -> None:
    """At a constant step shapes swing as far at the end as they did half-way."""

    class Noted(Radial):
        """Notes where shapes are before every step."""

        seen: ClassVar[list[torch.Tensor]] = []

        def switch(self, group: SwitchGroup) -> RadialSwitch:
            made = super().switch(group)

            def note(share: float) -> None:
                if group.name == "conv1.weight":
                    self.seen.append(made.log_shape.detach().clone())
                RadialSwitch.advance(made, share)

            made.advance = note  # type: ignore[method-assign]
            return made

    planted = PLANTED["plain"]()
    config = LearnConfig(epochs=20, intervals=False)
    sites = switch_sites(planted.analysis)
    learn_switches(planted.captured, sites, planted.unlabelled, Noted(), config=config)
    seen = torch.stack(Noted.seen)
    assert len(seen) == 120
    moved = (seen[1:] - seen[:-1]).abs().mean(1)
    assert moved[-6:].mean() < 0.15 * moved[30:60].mean()
    assert not GroupNormalJeffreys().steps_fall


@pytest.mark.parametrize("options", [{"tau": 0.0}, {"shape": 0.1}, {"lr": math.nan}])
def test_bad_settings_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Radial(**options)
