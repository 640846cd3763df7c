"""The Dirichlet switch against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from graphprune.errors import UsageError
from graphprune.switches.base import total_penalty
from graphprune.switches.dirichlet import Dirichlet, DirichletSwitch


def with_random_phi(size: int, **config: object) -> DirichletSwitch:
    switch = DirichletSwitch(size, Dirichlet(**config))  # type: ignore[arg-type]
    with torch.no_grad():
        switch.raw.copy_(torch.randn(size) * 2 + 1)
    return switch


def printed_kl(phi: torch.Tensor, prior: float) -> torch.Tensor:
    """The formula as the paper prints it (section 3.4)."""
    size, total = len(phi), phi.sum()
    return (
        torch.lgamma(total)
        - math.lgamma(size * prior)
        - torch.lgamma(phi).sum()
        + size * math.lgamma(prior)
        + ((phi - prior) * (torch.digamma(phi) - torch.digamma(total))).sum()
    )


@pytest.mark.parametrize("prior", [0.1, 1.0, 3.0])
def test_kl_is_the_printed_formula(prior: float) -> None:
    switch = with_random_phi(7, prior=prior)
    expected = printed_kl(switch.phi().double(), prior)
    torch.testing.assert_close(switch.kl().double(), expected, rtol=1e-4, atol=1e-5)


def test_kl_is_zero_at_the_prior_and_grows_away_from_it() -> None:
    at_prior = DirichletSwitch(5, Dirichlet(prior=2.0, initial=2.0))
    assert abs(at_prior.kl().item()) < 1e-5
    assert with_random_phi(5, prior=2.0).kl().item() > 0.05


def test_joint_penalty_is_the_sum_over_sizes_and_priors() -> None:
    switches = [with_random_phi(n, prior=p) for n, p in ((3, 1.0), (3, 1.0), (3, 0.5), (6, 1.0))]
    expected = torch.stack([switch.kl() for switch in switches]).sum()
    torch.testing.assert_close(total_penalty(switches), expected)


@pytest.mark.parametrize("variant", ["mean", "implicit", "per-example"])
def test_the_uniform_mean_one_switch_is_the_identity(variant: str) -> None:
    switch = DirichletSwitch(37, Dirichlet(variant=variant)).eval()  # type: ignore[arg-type]
    torch.testing.assert_close(switch(), torch.ones(37), rtol=0, atol=1e-6)


def test_scales_sum_to_what_they_promise() -> None:
    mean_one = with_random_phi(9, variant="implicit")
    assert mean_one().sum().item() == pytest.approx(9, rel=1e-5)
    mean_one.mass = 0.5
    assert mean_one().sum().item() == pytest.approx(4.5, rel=1e-5)
    assert mean_one.mean().sum().item() == pytest.approx(4.5, rel=1e-5)
    paper = with_random_phi(9, variant="implicit", scale="sum")
    assert paper().sum().item() == pytest.approx(1, rel=1e-5)
    assert paper.mean().sum().item() == pytest.approx(1, rel=1e-5)


def test_draws_have_the_posterior_mean_and_deviation() -> None:
    switch = with_random_phi(4, variant="per-example")
    draws = switch.sample(40_000).detach()
    assert draws.shape == (40_000, 4)
    torch.testing.assert_close(draws.mean(0), switch.mean().detach(), rtol=0.05, atol=0.02)
    torch.testing.assert_close(draws.std(0), switch.uncertainty(), rtol=0.05, atol=0.02)


def test_pathwise_gradient_agrees_with_the_gradient_of_the_moment() -> None:
    # E[s_0^2] = phi_0 (phi_0 + 1) / (S (S + 1)) for the probability vector.
    switch = with_random_phi(4, variant="implicit", scale="sum")
    phi = switch.phi()
    total = phi.sum()
    moment = phi[0] * (phi[0] + 1) / (total * (total + 1))
    (expected,) = torch.autograd.grad(moment, switch.raw)
    sampled = switch.sample(200_000)[:, 0].square().mean()
    (actual,) = torch.autograd.grad(sampled, switch.raw)
    torch.testing.assert_close(actual, expected, rtol=0.05, atol=2e-4)


def test_forward_follows_mode_and_examples() -> None:
    switch = DirichletSwitch(5, Dirichlet(variant="per-example"))
    assert switch.per_example
    switch.examples = 3
    drawn = switch()
    assert drawn.shape == (3, 5)
    assert not torch.equal(drawn[0], drawn[1])
    assert switch.eval()().shape == (5,)
    mean = DirichletSwitch(5)
    assert not mean.is_random
    assert torch.equal(mean(), mean())


def test_tiny_concentrations_stay_finite() -> None:
    switch = DirichletSwitch(6, Dirichlet(variant="implicit"))
    with torch.no_grad():
        switch.raw.fill_(-200.0)
    value = switch().square().sum() + switch.kl()
    value.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(value)
    assert switch.raw.grad is not None
    assert torch.isfinite(switch.raw.grad).all()


def test_importance_is_relative_in_both_scales() -> None:
    paper, mean_one = with_random_phi(5, scale="sum"), with_random_phi(5)
    mean_one.load_state_dict(paper.state_dict())
    torch.testing.assert_close(paper.importance(), mean_one.importance())
    assert paper.importance().mean().item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"variant": "median"}, "median"),
        ({"scale": "big"}, "big"),
        ({"prior": 0.0}, "prior"),
        ({"mass": 0.0}, "mass"),
        ({"mass": 1.5}, "mass"),
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"weights": "thawed"}, "thawed"),
        ({"weights_lr": 0.0}, "weights_lr"),
        ({"prior": math.nan}, "prior"),
        ({"initial": -1.0}, "initial"),
        ({"initial": math.inf}, "initial"),
    ],
)
def test_bad_settings_are_named(options: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Dirichlet(**options)  # type: ignore[arg-type]


def test_a_switch_without_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        DirichletSwitch(0)
