"""Group horseshoe switches against torch's log-normal and (inverse) Gamma distributions."""

from __future__ import annotations

import math

import pytest
import torch
from planted import CASES_WHERE_ALL_OTHERS_HELP, assert_planted_last, learn_planted
from scipy import stats
from torch import distributions

from graphprune.errors import UsageError
from graphprune.switches.bc_ghs import GroupHorseshoe, GroupHorseshoeSwitch


def random_switch(size: int = 4, tau: float = 1.0) -> GroupHorseshoeSwitch:
    torch.manual_seed(1)
    switch = GroupHorseshoeSwitch(size, GroupHorseshoe(tau=tau))
    with torch.no_grad():
        for parameter in switch.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7 - 0.5)
    return switch


def integrated_kl(mean: float, deviation: float, log_prior: object) -> float:
    """KL of a log-normal from the prior with that log density, by Gauss-Hermite quadrature."""
    nodes, weights = torch.tensor(stats.norm.ppf((torch.arange(20_000) + 0.5) / 20_000)), 1 / 20_000
    x = (mean + deviation * nodes).exp()
    log_q = distributions.LogNormal(mean, deviation).log_prob(x)
    return float(((log_q - log_prior(x)) * weights).sum())  # type: ignore[operator]


@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_kl_is_the_sum_of_the_integrals(tau: float) -> None:
    switch, expected = random_switch(tau=tau), 0.0
    for mean, log_variance, scale in (
        (switch.shared_mean, switch.shared_log_variance, tau),
        (switch.own_mean, switch.own_log_variance, 1.0),
    ):
        half, rate, one = torch.tensor([0.5, scale**-2, 1.0], dtype=torch.float64)
        gamma, inverse = distributions.Gamma(half, rate), distributions.InverseGamma(half, one)
        for row, prior in enumerate((gamma, inverse)):
            for m, v in zip(mean[row].tolist(), log_variance[row].tolist(), strict=True):
                expected += integrated_kl(m, math.exp(v / 2), prior.log_prob)
    assert switch.penalty().item() == pytest.approx(expected, rel=1e-3)


def test_the_prior_s_factors_make_a_half_cauchy() -> None:
    torch.manual_seed(0)
    tau, half = 0.3, torch.tensor(0.5)
    gamma = distributions.Gamma(half, 1 / torch.tensor(tau) ** 2).sample((20_000,))
    inverse = distributions.InverseGamma(half, torch.tensor(1.0)).sample((20_000,))
    product = (gamma * inverse).sqrt().numpy()
    assert stats.kstest(product, stats.halfcauchy(scale=tau).cdf).statistic < 0.015


def test_draws_are_log_normal_with_the_stated_moments() -> None:
    torch.manual_seed(0)
    switch = random_switch()
    draws = switch.sample(100_000).detach()
    mean, variance = (moment.detach() for moment in switch.log_moments())
    torch.testing.assert_close(draws.log().mean(0), mean, rtol=0, atol=0.02)
    torch.testing.assert_close(draws.log().var(0), variance, rtol=0.03, atol=0)
    narrow = GroupHorseshoeSwitch(3)
    draws = narrow.sample(100_000).detach()
    torch.testing.assert_close(draws.mean(0), narrow.mean().detach(), rtol=0.01, atol=0)
    torch.testing.assert_close(draws.std(0), narrow.uncertainty(), rtol=0.02, atol=0)
    torch.testing.assert_close(narrow.mean(), torch.ones(3))


def test_each_example_shares_one_global_scale() -> None:
    torch.manual_seed(0)
    switch = GroupHorseshoeSwitch(3, GroupHorseshoe(sigma=0.5))
    logs = switch.sample(50_000).detach().log()
    # Half of the variance is that of s, which all channels have in common.
    expected = torch.full((3, 3), 0.5) + torch.eye(3) * 0.5
    torch.testing.assert_close(torch.corrcoef(logs.T), expected, rtol=0, atol=0.02)


def test_draws_carry_the_gradient_of_the_mean() -> None:
    torch.manual_seed(0)
    switch = GroupHorseshoeSwitch(3, GroupHorseshoe(sigma=0.4))
    parameters = list(switch.parameters())
    weights = torch.tensor([1.0, -2.0, 0.5])
    expected = torch.autograd.grad((switch.mean() * weights).sum(), parameters)
    actual = torch.autograd.grad((switch.sample(400_000).mean(0) * weights).sum(), parameters)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=4e-3)


def test_importance_is_the_ratio_of_mean_and_deviation() -> None:
    switch = random_switch()
    for channel, (mean, variance) in enumerate(zip(*switch.posterior().tolist(), strict=True)):
        z = stats.lognorm(s=math.sqrt(variance), scale=math.exp(mean))
        assert switch.importance()[channel].item() == pytest.approx(z.mean() / z.std(), rel=1e-4)


def test_intervals_leave_out_what_the_channels_share() -> None:
    """s is one for the group: how unsure it is says nothing of the channels' order."""
    torch.manual_seed(0)
    switch = GroupHorseshoeSwitch(3)
    with torch.no_grad():
        switch.shared_mean.fill_(0.3)
        switch.shared_log_variance.fill_(math.log(2.0))
        switch.own_log_variance.copy_(torch.tensor([[0.01, 0.2, 1.0]]).log().expand(2, 3))
    low, high = switch.interval(0.9)
    own = torch.randn(200_000, 3) * (torch.tensor([0.01, 0.2, 1.0]) / 2).sqrt()
    shared = torch.randn(200_000, 1) + 0.3
    draws = own.exp() * shared.exp().mean() / switch.uncertainty()
    draws = draws * (switch.own_mean.detach().sum(0) / 2).exp()
    assert ((draws < low).double().mean(0) - 0.05).abs().max() < 0.01
    assert ((draws > high).double().mean(0) - 0.05).abs().max() < 0.01


@pytest.mark.parametrize(("name", "labels"), CASES_WHERE_ALL_OTHERS_HELP)
def test_planted_channels_come_last(name: str, labels: bool) -> None:
    planted, scores = learn_planted(name, labels, GroupHorseshoe())
    assert_planted_last(planted, scores)


@pytest.mark.parametrize("options", [{"tau": 0.0}, {"sigma": -1.0}, {"lr": math.nan}])
def test_bad_settings_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        GroupHorseshoe(**options)
