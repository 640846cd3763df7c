"""Variational saliencies against torch.distributions, and learned together with the weights."""

from __future__ import annotations

import math

import pytest
import torch
from planted import PLANTED, assert_planted_last
from torch import distributions, nn

from graphprune import CompressConfig, analyse, capture, compress
from graphprune.compressed import Compressed
from graphprune.errors import UsageError
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.proof.compare import max_relative_error
from graphprune.switches.placement import switch_sites
from graphprune.switches.vcnp import SaliencySwitch, VariationalSaliency


def random_switch(size: int, **config: object) -> SaliencySwitch:
    switch = SaliencySwitch(size, VariationalSaliency(**config))  # type: ignore[arg-type]
    with torch.no_grad():
        switch.mu.copy_(torch.randn(size))
        switch.log_sigma.copy_(torch.randn(size) - 1)
    return switch


def posterior(switch: SaliencySwitch) -> distributions.Normal:
    return distributions.Normal(switch.mu, switch.log_sigma.exp())


@pytest.mark.parametrize("prior", [0.1, 0.3, 2.0])
def test_penalty_is_the_kl_and_so_are_its_gradients(prior: float) -> None:
    switch = random_switch(6, prior=prior)
    normal = distributions.Normal(torch.zeros(6), torch.full((6,), prior))
    expected = distributions.kl_divergence(posterior(switch), normal).sum()
    torch.testing.assert_close(switch.penalty(), expected, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad(expected, [switch.mu, switch.log_sigma])
    found = torch.autograd.grad(switch.penalty(), [switch.mu, switch.log_sigma])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_sparse_prior_is_as_wide_as_each_posterior() -> None:
    switch = random_switch(6)
    prior = distributions.Normal(torch.zeros(6), switch.uncertainty())
    expected = distributions.kl_divergence(posterior(switch), prior).sum()
    torch.testing.assert_close(switch.penalty(), expected, rtol=1e-5, atol=1e-5)
    # The slopes are those of mu^2 / (2 sigma^2): with the mean they pull, with the noise they push.
    ratio = switch.mu.detach() / switch.uncertainty()
    mu, log_sigma = torch.autograd.grad(switch.penalty(), [switch.mu, switch.log_sigma])
    torch.testing.assert_close(mu, ratio / switch.uncertainty())
    torch.testing.assert_close(log_sigma, -ratio.square())


def test_the_prior_leaves_idle_channels_alone_and_is_sparse() -> None:
    """Of two solutions with one sum of squares it takes that with a zero."""
    switch = SaliencySwitch(2)
    penalties = []
    for means, deviations in (((1.0, 0.0), (0.5, 0.1)), ((0.71, 0.71), (0.36, 0.36))):
        with torch.no_grad():
            switch.mu.copy_(torch.tensor(means))
            switch.log_sigma.copy_(torch.tensor(deviations).log())
        penalties.append(switch.penalty().item())
    assert penalties[0] < penalties[1]


def test_draws_have_the_posterior_moments_and_pathwise_gradients() -> None:
    switch = random_switch(4)
    draws = switch.sample(200_000)
    assert draws.shape == (200_000, 4)
    torch.testing.assert_close(draws.mean(0), switch.mean(), rtol=0, atol=0.02)
    torch.testing.assert_close(draws.std(0), switch.uncertainty(), rtol=0.02, atol=0)
    # d E[s^2] / d mu = 2 mu, d E[s^2] / d log sigma = 2 sigma^2
    mu, log_sigma = torch.autograd.grad(draws.square().mean(0).sum(), [switch.mu, switch.log_sigma])
    torch.testing.assert_close(mu, 2 * switch.mu.detach(), rtol=0, atol=0.05)
    torch.testing.assert_close(log_sigma, 2 * switch.uncertainty() ** 2, rtol=0.05, atol=0.01)


def test_importance_is_the_size_of_the_mean_saliency() -> None:
    switch = SaliencySwitch(3)
    with torch.no_grad():
        switch.mu.copy_(torch.tensor([0.1, -1.0, 0.5]))
    torch.testing.assert_close(switch.importance(), torch.tensor([0.1, 1.0, 0.5]))
    assert switch.posterior().shape == (2, 3)


def test_a_channel_is_surely_small_only_by_mean_and_variance() -> None:
    switch = SaliencySwitch(4)
    with torch.no_grad():
        switch.mu.copy_(torch.tensor([0.0, 0.0, 1.0, 1.0]))
        switch.log_sigma.copy_(torch.tensor([0.1, 2.0, 0.1, 2.0]).log())
    assert (switch.below(0.5) > 0.95).tolist() == [True, False, False, False]


@pytest.mark.parametrize("options", [{"prior": 0.0}, {"initial": -1.0}, {"lr": math.nan}])
def test_bad_settings_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        VariationalSaliency(**options)


class Twice(nn.Module):
    """A norm of its own, one that two layers share, and a layer without a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8)
        self.left, self.right, self.shared = (
            nn.Conv2d(8, 6, 3),
            nn.Conv2d(8, 6, 3),
            nn.BatchNorm2d(6),
        )
        self.plain, self.head = nn.Conv2d(6, 5, 1), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.first(x)).relu()
        h = self.shared(self.left(h)).relu() + self.shared(self.right(h)).tanh()
        out: torch.Tensor = self.head(self.plain(h).relu().mean((2, 3)))
        return out


def digits(examples: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(examples, 2, 8, 8)
    return x, (x.mean((2, 3)).sum(1) * 3).round().clamp(-1, 1).long() + 1


def test_scales_folded_into_trained_weights_compute_what_was_learned() -> None:
    from graphprune.switches.fold import fold_scales
    from graphprune.switches.network import SwitchedNetwork
    from graphprune.training.devices import Runtime

    model, (x, _) = Twice().eval(), digits()
    captured = capture(model, x[:2])
    sites = switch_sites(analyse(captured.module))
    switches = {site.group: random_switch(int(site.index.max()) + 1) for site in sites}
    network = SwitchedNetwork(captured, sites, switches, Runtime().device, trained=True)
    with torch.no_grad():
        for parameter in network.weight_parameters():
            parameter.mul_(1.5)
    weights = network.weights()
    scales = {name: switch.mean().detach() for name, switch in switches.items()}
    folded = fold_scales(captured, sites, scales, weights)
    expected = network.module.eval()(x)
    assert max_relative_error(folded.module(x), expected) < 1e-5
    assert max_relative_error(expected, model(x)) > 0.01
    # Only the norm that nothing else reads could take the scale.
    names = {name for name, _ in folded.module.named_parameters()}
    added = names - {name for name, _ in model.named_parameters()}
    assert added == {"switch_scale_0", "switch_scale_1", "switch_scale_2"}
    assert torch.allclose(
        folded.module.get_parameter("norm.weight"), model.norm.weight * scales["first.weight"]
    )


def test_weights_are_trained_along_and_the_cut_is_proved() -> None:
    torch.manual_seed(1)
    model, (x, y) = Twice().eval(), digits(96)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = compress(
        model,
        x[:2],
        data=(x, y),
        method="vcnp{lr=0.05}",
        config=CompressConfig(learn=LearnConfig(epochs=8, kl_weight=0.02), batch_size=16),
    )
    assert isinstance(result, Compressed)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert result.certificate.passed
    assert result.plan.widths["first.weight"] == (8, 4)
    learned = result.stages.scores.learned
    assert learned is not None
    losses = [step["loss"] for step in learned.history]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])
    # What was cut is the trained network, not the one that was given.
    small = dict(result.model.named_parameters())
    rows = [
        bool((before["head.weight"] == row).all(1).any()) for row in small["head.bias"][:, None]
    ]
    assert not any(rows)
    assert not torch.equal(small["head.bias"], before["head.bias"])


def test_a_norm_at_a_site_keeps_its_own_weight_while_the_rest_is_trained() -> None:
    model, (x, y) = Twice().eval(), digits()
    captured = capture(model, x[:2])
    sites = switch_sites(analyse(captured.module))
    result = learn_switches(captured, sites, [((x,), y)], VariationalSaliency())
    assert result.weights is not None
    assert torch.equal(result.weights["norm.weight"], model.norm.weight)
    assert not torch.equal(result.weights["norm.bias"], model.norm.bias)
    assert not torch.equal(result.weights["norm.running_mean"], model.norm.running_mean)
    with pytest.raises(UsageError, match="mode joint"):
        learn_switches(
            captured,
            sites,
            [((x,), y)],
            VariationalSaliency(),
            config=LearnConfig(mode="sequential"),
        )


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("labels", [True, False])
def test_ignored_channels_come_last(name: str, labels: bool) -> None:
    planted = PLANTED[name]()
    result = learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.data if labels else planted.unlabelled,
        VariationalSaliency(weights="frozen", lr=0.05),
        config=LearnConfig(epochs=30, kl_weight=0.1),
    )
    # A silent channel is not idle under a normal posterior: a negative draw turns its sign, and
    # what was far below zero comes through the nonlinearity.
    assert_planted_last(planted, result.scores, kind="ignored")
