"""Group normal-Jeffreys switches against the integral of their KL."""

from __future__ import annotations

import math

import pytest
import torch
from planted import CASES, assert_planted_last, learn_planted
from scipy import integrate, stats

from graphprune.errors import UsageError
from graphprune.switches.bc_gnj import GroupNormalJeffreys, GroupNormalJeffreysSwitch

ALPHA = (1e-4, 0.01, 0.1, 0.5, 1.0, 2.0, 10.0, 1e3)


def switch_of(mu: float, *alpha: float) -> GroupNormalJeffreysSwitch:
    switch = GroupNormalJeffreysSwitch(len(alpha))
    with torch.no_grad():
        switch.mu.fill_(mu)
        switch.log_alpha.copy_(torch.tensor(alpha).log())
    return switch


def integrated_kl(alpha: float) -> float:
    """``E_q[log q(z) - log 1/|z|]`` for mu = 1, less its limit for alpha to infinity."""
    density = stats.norm(1, math.sqrt(alpha)).pdf
    reach = 12 * math.sqrt(alpha)
    points = [point for point in (0.0, 1.0) if 1 - reach < point < 1 + reach]
    mean_log, _ = integrate.quad(
        lambda z: density(z) * math.log(abs(z)) if z else 0.0,
        1 - reach,
        1 + reach,
        points=points,
        limit=500,
    )
    limit = (math.log(2) + 0.5772156649) / 2  # -E log|epsilon|, epsilon standard normal
    return mean_log - 0.5 * math.log(alpha) + limit


@pytest.mark.parametrize("alpha", ALPHA)
@pytest.mark.parametrize("mu", [1.0, -0.3])
def test_kl_is_the_integral_up_to_the_approximation(mu: float, alpha: float) -> None:
    # The bound is the approximation's own: Molchanov et al. fitted three constants.
    assert switch_of(mu, alpha).penalty().item() == pytest.approx(integrated_kl(alpha), abs=0.01)


def test_kl_is_the_printed_formula_and_falls_with_noise() -> None:
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    values = []
    for alpha in ALPHA:
        sigmoid = 1 / (1 + math.exp(-(k2 + k3 * math.log(alpha))))
        negative = k1 * sigmoid - 0.5 * math.log(1 + 1 / alpha) - k1
        values.append(switch_of(0.7, alpha).penalty().item())
        assert values[-1] == pytest.approx(-negative, rel=1e-4, abs=1e-6)
    assert values == sorted(values, reverse=True)
    assert switch_of(1.0, *ALPHA).penalty().item() == pytest.approx(sum(values), rel=1e-4)


def test_draws_have_mean_and_deviation_and_their_gradients() -> None:
    torch.manual_seed(0)
    switch = switch_of(0.8, 0.05, 0.5)
    draws = switch.sample(200_000)
    torch.testing.assert_close(draws.detach().std(0), switch.uncertainty(), rtol=0.01, atol=0)
    torch.testing.assert_close(draws.mean(0), switch.mean(), rtol=0.01, atol=0)
    moment = switch.mu.square() * (1 + switch.log_alpha.exp())  # E[z²]
    parameters = [switch.mu, switch.log_alpha]
    expected = torch.autograd.grad(moment.sum(), parameters)
    actual = torch.autograd.grad(draws.square().mean(0).sum(), parameters)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.03, atol=2e-3)


def test_importance_is_the_ratio_of_signal_to_noise_with_its_interval() -> None:
    torch.manual_seed(0)
    switch = switch_of(-2.0, 0.1, 4.0)
    expected = torch.tensor([0.1, 4.0]).rsqrt()
    torch.testing.assert_close(switch.importance(), expected)
    low, high = switch.interval(0.9)
    deviation = 2 * torch.tensor([0.1, 4.0]).sqrt()  # of z, before its sign is dropped
    draws = torch.normal(2.0, deviation.expand(100_000, 2)) / deviation
    above = (draws <= high).double().mean(0)
    torch.testing.assert_close(above, torch.full_like(above, 0.95), rtol=0, atol=0.01)
    assert (draws[:, 0] >= low[0]).double().mean().item() == pytest.approx(0.95, abs=0.01)
    assert low[1] == 0
    torch.testing.assert_close(switch.posterior()[1], torch.tensor([0.1, 4.0]))


@pytest.mark.parametrize(("name", "labels"), CASES)
def test_planted_channels_come_last(name: str, labels: bool) -> None:
    planted, scores = learn_planted(name, labels, GroupNormalJeffreys())
    assert_planted_last(planted, scores)


def test_no_draw_turns_a_sign() -> None:
    """It would wake up what a nonlinearity silences."""
    torch.manual_seed(0)
    switch = switch_of(-0.5, 0.1, 4.0)
    assert (switch.sample(1000) > 0).all()
    assert (switch.mean() > 0).all()
    expected = stats.foldnorm(c=0.5, scale=1.0).mean()
    assert switch.mean()[1].item() == pytest.approx(expected, rel=1e-5)
    below = stats.foldnorm(c=0.5, scale=1.0).cdf(0.7)
    assert switch.below(0.7)[1].item() == pytest.approx(below, rel=1e-6)


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"lr": math.nan}])
def test_bad_settings_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        GroupNormalJeffreys(**options)
