"""The group lasso on scales, and its two halves where weights are trained."""

from __future__ import annotations

import pytest
import torch
from planted import PLANTED, assert_planted_last
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.errors import UsageError
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.switches.group_lasso import GroupLasso, LassoScale
from graphprune.switches.method import SwitchGroup
from graphprune.switches.placement import switch_sites
from graphprune.switches.sites import SwitchSite


def test_penalty_importance_and_uncertainty() -> None:
    switch = LassoScale(3, GroupLasso(strength=2.0))
    assert torch.equal(switch(), torch.ones(3))
    with torch.no_grad():
        switch.log_scale.copy_(torch.tensor([0.5, 2.0, 1e-8]).log())
    assert switch.penalty().item() == pytest.approx(5.0)
    torch.testing.assert_close(switch.importance(), torch.tensor([0.5, 2.0, 1e-8]))
    assert torch.equal(switch.uncertainty(), torch.zeros(3))
    assert torch.equal(switch.sample(2), switch.mean().expand(2, 3))
    assert not switch.is_random


@pytest.mark.parametrize("weights", ["frozen", "trained"])
def test_half_the_penalty_is_left_to_weights_that_are_trained(weights: str) -> None:
    analysis = PLANTED["plain"]().analysis
    method = GroupLasso(strength=2.0, weights=weights).prepared(analysis)  # type: ignore[arg-type]
    # conv1 has a batch norm, whose own weight is not trained beside its switch.
    halved = {"conv1.weight": False, "conv2.weight": True, "fc1.weight": True}
    for name, half in halved.items():
        switch = method.switch(SwitchGroup(name, 3, batched=True))
        with torch.no_grad():
            switch.log_scale.copy_(torch.tensor([0.5, 2.0, 1e-8]).log())
        expected = 4.25 if half and weights == "trained" else 5.0
        assert switch.penalty().item() == pytest.approx(expected)


@pytest.mark.parametrize("weights", ["frozen", "trained"])
def test_learning_ends_at_the_soft_threshold(weights: str) -> None:
    """Least squares of orthogonal channels: ||v_j|| ends at max(0, ||a_j|| - lambda)."""
    model = nn.Linear(4, 4, bias=False)
    norms = torch.tensor([2.0, 1.0, 0.6, 0.2])
    with torch.no_grad():
        model.weight.copy_(torch.diag(torch.ones(4)))
    inputs = torch.eye(4)
    captured = capture(model, inputs[:2])
    (linear,) = (n.name for n in captured.module.graph.nodes if "linear" in str(n.target))

    def loss(output: object, target: object) -> torch.Tensor:
        assert isinstance(output, torch.Tensor)
        assert isinstance(target, torch.Tensor)
        return 0.5 * (output - target).square().sum()

    shrinkage = 0.4
    method = GroupLasso(strength=shrinkage * len(inputs), weights=weights, weights_lr=0.02)  # type: ignore[arg-type]
    result = learn_switches(
        captured,
        [SwitchSite(linear, "g", torch.arange(4).reshape(1, 4))],
        [((inputs,), torch.diag(norms))],
        method,
        config=LearnConfig(epochs=1500, limit_penalty=False),
        loss=loss,
    )
    scale = result.switches["g"].mean().detach().cpu()
    weight = torch.ones(4) if result.weights is None else result.weights["weight"].diagonal()
    assert (result.weights is None) == (weights == "frozen")
    expected = (norms - shrinkage).clamp(min=0)
    torch.testing.assert_close(scale * weight, expected, rtol=0, atol=0.03)
    if weights == "trained":  # both halves carry as much
        torch.testing.assert_close(scale.abs(), weight.abs(), rtol=0, atol=0.05)


def proximal(vector: torch.Tensor, weight: float) -> torch.Tensor:
    """Of ``weight * ||x||_2`` at a vector: least ``||x - vector||^2 / 2 + weight * ||x||_2``."""
    return max(0.0, 1 - weight / float(vector.norm())) * vector


def test_the_closed_form_of_the_proximal_map_is_least() -> None:
    vector, weight = torch.tensor([0.6, -0.8, 0.3]), 0.4
    least = proximal(vector, weight)

    def value(x: torch.Tensor) -> float:
        return float((x - vector).square().sum() / 2 + weight * x.norm())

    assert all(value(least) < value(least + 0.01 * torch.randn(3)) for _ in range(100))
    assert proximal(vector, 2.0).abs().sum() == 0


def test_channels_end_where_the_proximal_map_of_their_norm_puts_them() -> None:
    """Two weights a channel of unit norm, wanted 2, 1, 0.6 and 0.2 times as large."""
    angles, sizes = torch.tensor([0.3, 1.0, 2.0, 4.0]), torch.tensor([2.0, 1.0, 0.6, 0.2])
    unit = torch.stack([angles.cos(), angles.sin()], 1)
    model = nn.Linear(2, 4, bias=False)
    with torch.no_grad():
        model.weight.copy_(unit)
    inputs = torch.eye(2)
    captured = capture(model, inputs)
    (linear,) = (n.name for n in captured.module.graph.nodes if "linear" in str(n.target))
    wanted = sizes.unsqueeze(1) * unit
    result = learn_switches(
        captured,
        [SwitchSite(linear, "g", torch.arange(4).reshape(1, 4))],
        [((inputs,), wanted.T)],
        GroupLasso(strength=0.4 * len(inputs)),
        config=LearnConfig(epochs=1500, limit_penalty=False),
        loss=lambda output, target: 0.5 * (output - target).square().sum(),
    )
    found = result.switches["g"].mean().detach().cpu().unsqueeze(1) * unit
    expected = torch.stack([proximal(row, 0.4) for row in wanted])
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)


def test_behind_an_exact_zero_relu_lets_no_gradient_through() -> None:
    """Which is why scales are not put there: they could not come back."""
    slopes = []
    for value in (0.0, 0.02):
        scale = torch.tensor(value, requires_grad=True)
        loss = (torch.relu(scale * torch.tensor([1.0, 2.0])) - 1).square().sum()
        slopes.append(float(torch.autograd.grad(loss, scale)[0]))
    assert slopes[0] == 0
    assert slopes[1] < -1


@pytest.mark.parametrize("option", ["strength", "lr"])
def test_bad_settings_are_named(option: str) -> None:
    with pytest.raises(UsageError, match=option):
        GroupLasso(**{option: 0.0})  # type: ignore[arg-type]


def test_planted_channels_rank_last_of_all() -> None:
    planted = PLANTED["plain"]()
    result = learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.unlabelled,
        GroupLasso(),
        config=LearnConfig(epochs=40, kl_weight=0.08),
    )
    assert_planted_last(planted, result.scores)
