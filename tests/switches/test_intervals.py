"""Intervals of signal-to-noise ratios leave out as much below as above, by draws."""

from __future__ import annotations

import math

import pytest
import torch

from graphprune.switches.rdp import RadialSwitch
from graphprune.switches.sbp import SBPSwitch
from graphprune.switches.signal import SignalToNoise

DRAWS = 200_000


def _radial(shape: float, scale: float) -> RadialSwitch:
    switch = RadialSwitch(1)
    with torch.no_grad():
        switch.log_shape.fill_(math.log(shape))
        switch.log_scale.fill_(math.log(scale))
    return switch


def _log_normal(mu: float, sigma: float) -> SBPSwitch:
    switch = SBPSwitch(1)
    with torch.no_grad():
        switch.mu.fill_(mu)
        switch.log_sigma.fill_(math.log(sigma))
    return switch


@pytest.mark.parametrize(
    "switch",
    [_radial(1.3, 0.5), _radial(8.0, 1.1), _log_normal(0.0, 0.2), _log_normal(-1.0, 1.0)],
)
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_as_much_is_left_out_below_as_above(switch: SignalToNoise, level: float) -> None:
    torch.manual_seed(0)
    low, high = switch.interval(level)
    ratios = switch.sample(DRAWS).detach() / switch.uncertainty()
    for outside in (ratios < low, ratios > high):
        assert outside.float().mean().item() == pytest.approx((1 - level) / 2, abs=0.005)


def test_a_shape_that_fell_too_low_comes_back() -> None:
    """The clamp alone would leave it without a gradient for good."""
    switch = _radial(0.3, 1.0)
    optimiser = torch.optim.Adam(switch.parameters(), lr=0.05)
    for _ in range(200):
        switch.advance(0.5)
        optimiser.zero_grad()
        switch.penalty().backward()
        optimiser.step()
    assert switch.posterior()[0].item() > 0.8, "the prior pulls it to about 1"
