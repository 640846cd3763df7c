"""The closed-form probability that a scale is small, against draws and known values."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch
from planted import PLANTED

from graphprune.analysis.groups import Analysis
from graphprune.importance.methods import make_method
from graphprune.registry import SWITCHES
from graphprune.switches.base import Switch
from graphprune.switches.dirichlet import Dirichlet, DirichletSwitch
from graphprune.switches.l0 import HardConcreteGate
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.switches.vcnp import SaliencySwitch

DRAWS = 4000
SIZE = 9


@cache
def analysis() -> Analysis:
    return PLANTED["plain"]().analysis


def moved(name: str) -> Switch:
    """A switch of the kind with parameters spread about their start."""
    method = make_method(name)
    assert isinstance(method, SwitchMethod)
    method = method.prepared(analysis()).with_spread().settled(teachable=True)
    # The group's name and size are those of a group that fdoo knows the cost of.
    switch = method.switch(SwitchGroup("fc1.weight", SIZE, batched=False))
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in switch.parameters():
            spread = torch.linspace(-0.7, 1.3, SIZE).roll(2)
            parameter.mul_(spread if parameter.shape[-1] == SIZE else 1).sub_(0.3 * spread.abs()[0])
    switch.advance(0.0)  # bounds of the parameters, where there are any
    return switch


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", SWITCHES.names())
def test_it_is_the_share_of_draws_that_are_small(name: str, share: float) -> None:
    switch = moved(name)
    below = switch.below(share)
    if below is None:
        assert not switch.is_random
        return
    assert below.shape == (SIZE,)
    assert below.dtype == torch.float64
    assert not below.requires_grad
    with torch.no_grad():
        draws = switch.sample(DRAWS)
        if (draws == draws[0]).all():  # kinds that draw once for the whole batch
            draws = torch.stack([switch.sample() for _ in range(DRAWS)])
    small = (draws.abs() < share).double().mean(0)
    torch.testing.assert_close(small, below, rtol=0, atol=4 * 0.5 / DRAWS**0.5)
    if share == 0.5:  # the test would be an empty one if all were sure
        assert ((below > 0.02) & (below < 0.98)).any()


@pytest.mark.parametrize("name", SWITCHES.names())
def test_it_grows_with_the_share(name: str) -> None:
    switch = moved(name)
    found = [switch.below(share) for share in (0.1, 0.4, 0.8, 1.0)]
    for low, high in itertools.pairwise(found):
        if low is not None and high is not None:
            assert (low <= high + 1e-12).all()


def test_dirichlet_at_known_values() -> None:
    switch = DirichletSwitch(2, Dirichlet(variant="implicit", initial=1.0))
    # Dir(1, 1): shares are uniform on [0, 1], and an equal share is 1/2.
    assert switch.below(0.5) == pytest.approx([0.25, 0.25], abs=1e-6)
    switch.mass = 0.5  # of how the scale is learned, not of the shares
    assert switch.below(0.5) == pytest.approx([0.25, 0.25], abs=1e-6)
    alone = DirichletSwitch(1, Dirichlet(variant="implicit")).below(1.0)
    assert alone is not None
    assert alone.tolist() == [0.0]


def test_normal_at_known_values() -> None:
    switch = SaliencySwitch(2)
    with torch.no_grad():
        switch.mu.copy_(torch.tensor([0.0, -1.0]))
        switch.log_sigma.copy_(torch.tensor([0.5, 0.25]).log())
    assert switch.below(0.5) == pytest.approx([0.6826895, 0.0227501], abs=1e-6)


def test_a_hard_concrete_gate_is_at_least_as_often_small_as_closed() -> None:
    gate = HardConcreteGate(1)
    tiny = gate.below(1e-9)
    assert tiny is not None
    closed = 1 - gate.open_probability().item()
    assert tiny.item() == pytest.approx(closed, abs=1e-6)
    assert gate.below(0.5).item() > closed


def test_without_draws_a_dirichlet_switch_knows_no_spread() -> None:
    assert DirichletSwitch(4, Dirichlet(variant="mean")).below(0.5) is None


def test_where_it_is_asked_for_dirichlet_draws_and_has_a_sparse_prior() -> None:
    asked = Dirichlet().with_spread()
    assert (asked.variant, asked.alpha) == ("per-example", 0.1)
    assert asked.settled(teachable=True).variant == "per-example"
    given = Dirichlet(variant="implicit", prior=1.0).with_spread()
    assert (given.variant, given.alpha) == ("implicit", 1.0)
    assert Dirichlet().settled(teachable=True).alpha == 1.0
