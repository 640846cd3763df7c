"""Generalized dropout against torch's Beta and Bernoulli distributions."""

from __future__ import annotations

import math

import pytest
import torch
from planted import CASES_WHERE_ALL_OTHERS_HELP, assert_planted_last, learn_planted
from torch import distributions

from graphprune.errors import UsageError
from graphprune.switches.gd import GeneralizedDropout, GeneralizedDropoutSwitch


def random_switch(**options: float) -> GeneralizedDropoutSwitch:
    torch.manual_seed(2)
    switch = GeneralizedDropoutSwitch(5, GeneralizedDropout(**options))
    with torch.no_grad():
        switch.logit.copy_(torch.randn(5))
    return switch


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 2.0), (1.0, 1.0), (0.3, 0.3), (5.0, 2.5)])
def test_penalty_is_the_negative_log_prior(alpha: float, beta: float) -> None:
    switch = random_switch(alpha=alpha, beta=beta)
    prior = distributions.Beta(alpha, beta)
    expected = -prior.log_prob(switch.theta()).sum()
    torch.testing.assert_close(switch.penalty(), expected, rtol=1e-4, atol=1e-5)


def test_gates_are_open_or_closed_with_the_stated_moments() -> None:
    switch = random_switch()
    draws = switch.sample(50_000).detach()
    assert draws.round(decimals=6).unique().tolist() == pytest.approx([1e-4, 1.0])
    torch.testing.assert_close(draws.mean(0), switch.mean().detach(), rtol=0, atol=0.01)
    torch.testing.assert_close(draws.std(0), switch.uncertainty(), rtol=0, atol=0.01)
    assert switch.sample().shape == (5,)


def test_the_straight_through_gradient_is_exact_where_the_loss_is_linear() -> None:
    switch, weights = random_switch(), torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0])
    (expected,) = torch.autograd.grad((switch.mean() * weights).sum(), switch.logit)
    (actual,) = torch.autograd.grad((switch.sample() * weights).sum(), switch.logit)
    torch.testing.assert_close(actual, expected)


def test_the_straight_through_gradient_of_a_square_against_the_score_function() -> None:
    # L = (z . w - 1)²: dE[L]/dtheta_j has w_j² + 2 w_j (rest - 1), straight-through 2 w_j² theta_j
    # in place of w_j², so the two agree at theta_j = 1/2 and differ by w_j² (2 theta_j - 1).
    switch, weights = random_switch(), torch.tensor([1.0, -2.0, 0.5, 1.5, 0.3])
    draws = switch.sample(400_000)
    losses = (draws @ weights - 1).square()
    theta = switch.theta()
    (biased,) = torch.autograd.grad(losses.mean(), switch.logit, retain_graph=True)
    gates = draws.detach().round()
    log_probability = distributions.Bernoulli(theta).log_prob(gates).sum(1)
    surrogate = (log_probability * (losses.detach() - losses.detach().mean())).mean()
    (unbiased,) = torch.autograd.grad(surrogate, switch.logit)
    slope = (theta * (1 - theta)).detach()
    difference = weights.square() * (2 * theta.detach() - 1) * slope
    torch.testing.assert_close(biased - difference, unbiased, rtol=0.05, atol=0.02)


def test_a_closed_gate_in_front_of_relu_has_a_gradient() -> None:
    torch.manual_seed(0)
    switch = random_switch()
    (torch.relu(switch.sample(200)) - 1).square().sum().backward()  # type: ignore[no-untyped-call]
    # All of it is that of closed gates: at 1 the loss is flat.
    assert switch.logit.grad is not None
    assert (switch.logit.grad < 0).all()


def test_extreme_logits_stay_finite() -> None:
    switch = random_switch(alpha=0.5, beta=0.5)
    with torch.no_grad():
        switch.logit.copy_(torch.tensor([-1e4, -30.0, 0.0, 30.0, 1e4]))
    switch.penalty().backward()  # type: ignore[no-untyped-call]
    assert switch.logit.grad is not None
    assert torch.isfinite(switch.logit.grad).all()
    assert torch.isfinite(switch.penalty())


@pytest.mark.parametrize(("name", "labels"), CASES_WHERE_ALL_OTHERS_HELP)
def test_planted_channels_come_last(name: str, labels: bool) -> None:
    planted, scores = learn_planted(name, labels, GeneralizedDropout())
    assert_planted_last(planted, scores)


@pytest.mark.parametrize(
    "options", [{"alpha": 0.0}, {"beta": -1.0}, {"keep": 1.0}, {"keep": 0.0}, {"lr": math.nan}]
)
def test_bad_settings_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        GeneralizedDropout(**options)
