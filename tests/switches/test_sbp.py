"""Structured Bayesian pruning against integrals over the truncated log-normal."""

from __future__ import annotations

import math

import pytest
import torch
from planted import CASES_WHERE_ALL_OTHERS_HELP, assert_planted_last, learn_planted
from scipy import integrate, stats

from graphprune.errors import UsageError
from graphprune.switches.sbp import SBP, SBPSwitch

# Narrow, wide, at the upper bound, in the middle, at the lower bound, nearly uniform.
MU = (0.0, -0.5, -3.0, -10.0, -19.9, 0.0, -5.0)
SIGMA = (0.2, 1.0, 0.05, 3.0, 2.0, 20.0, 100.0)


def switch_of(mu: tuple[float, ...] = MU, sigma: tuple[float, ...] = SIGMA) -> SBPSwitch:
    switch = SBPSwitch(len(mu))
    with torch.no_grad():
        switch.mu.copy_(torch.tensor(mu))
        switch.log_sigma.copy_(torch.tensor(sigma).log())
    return switch


def truncated(mu: float, sigma: float) -> stats.rv_continuous:
    return stats.truncnorm((-20 - mu) / sigma, -mu / sigma, loc=mu, scale=sigma)


def expectation(mu: float, sigma: float, function: object) -> float:
    posterior = truncated(mu, sigma)
    near = [point for point in (mu - 5 * sigma, mu, mu + 5 * sigma) if -20 < point < 0]
    value, _ = integrate.quad(
        lambda x: posterior.pdf(x) * function(x),  # type: ignore[operator]
        -20,
        0,
        points=near or None,
        limit=400,
    )
    return float(value)


@pytest.mark.parametrize(("mu", "sigma"), list(zip(MU, SIGMA, strict=True)))
def test_kl_mean_and_deviation_are_the_integrals(mu: float, sigma: float) -> None:
    switch, posterior = switch_of((mu,), (sigma,)), truncated(mu, sigma)
    kl = expectation(mu, sigma, lambda x: posterior.logpdf(x) + math.log(20))
    assert switch.penalty().item() == pytest.approx(kl, rel=1e-4, abs=1e-4)
    first = expectation(mu, sigma, math.exp)
    second = expectation(mu, sigma, lambda x: math.exp(2 * x))
    deviation = math.sqrt(second - first**2)
    assert switch.mean().item() == pytest.approx(first, rel=1e-3)
    assert switch.uncertainty().item() == pytest.approx(deviation, rel=1e-4)
    assert switch.importance().item() == pytest.approx(first / deviation, rel=1e-4)


def test_kl_vanishes_for_a_posterior_that_is_all_but_uniform() -> None:
    wide = switch_of((-10.0,), (148.0,))
    assert 0 <= wide.penalty().item() < 1e-3
    assert switch_of((0.0,), (1e-3,)).penalty().item() > 5


def test_draws_have_the_distribution() -> None:
    torch.manual_seed(0)
    switch = switch_of()
    draws = switch.sample(20_000).detach().log()
    for column, (mu, sigma) in enumerate(zip(MU, SIGMA, strict=True)):
        fit = stats.kstest(draws[:, column].numpy(), truncated(mu, sigma).cdf)
        assert fit.statistic < 0.015, (mu, sigma)
    assert switch.sample().shape == (len(MU),)


def test_draws_carry_the_gradient_of_the_mean() -> None:
    torch.manual_seed(0)
    switch = switch_of(MU[:5], SIGMA[:5])
    expected = torch.autograd.grad(switch.mean().sum(), [switch.mu, switch.log_sigma])
    sampled = switch.sample(200_000).mean(0).sum()
    actual = torch.autograd.grad(sampled, [switch.mu, switch.log_sigma])
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=2e-3)


def test_gradients_of_the_penalty_and_the_mean_are_finite_differences() -> None:
    switch = switch_of(MU[1:4], SIGMA[1:4]).double()
    assert torch.autograd.gradcheck(lambda *_: switch.penalty(), [switch.mu, switch.log_sigma])
    assert torch.autograd.gradcheck(lambda *_: switch.mean(), [switch.mu, switch.log_sigma])


@pytest.mark.parametrize("log_sigma", [-1e3, -10.0, 5.0, 1e3])
@pytest.mark.parametrize("mu", [-1e3, -20.0, -10.0, 0.0, 1e3])
def test_the_outermost_parameters_stay_finite(mu: float, log_sigma: float) -> None:
    switch = switch_of((mu,), (1.0,))
    with torch.no_grad():
        switch.log_sigma.fill_(log_sigma)
    value = switch.sample(100).sum() + switch.mean().sum() + switch.penalty()
    value.backward()  # type: ignore[no-untyped-call]
    finite = [value, switch.mu.grad, switch.log_sigma.grad, switch.importance()]
    assert all(torch.isfinite(tensor).all() for tensor in finite if tensor is not None)
    switch.advance(0.5)
    assert -20 <= switch.mu.item() <= 0


@pytest.mark.parametrize(("name", "labels"), CASES_WHERE_ALL_OTHERS_HELP)
def test_planted_channels_come_last(name: str, labels: bool) -> None:
    planted, scores = learn_planted(name, labels, SBP())
    assert_planted_last(planted, scores)


@pytest.mark.parametrize(
    "options", [{"low": 1.0}, {"low": -math.inf}, {"sigma": 0.0}, {"sigma": 1e3}, {"lr": -1.0}]
)
def test_bad_settings_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        SBP(**options)
