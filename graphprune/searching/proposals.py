"""Which shares of a budget are tried: plain ones, random ones, and variations of the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphprune.choosing.ranking import RANKINGS
from graphprune.searching.allocate import Share

TILT = 0.7
"""Logarithm of the rates at the ends of a tilted share: about twice and half the common one."""
SPREADS = (0.4, 0.8)
"""Standard deviations of the logarithms of random rates, in turn."""
VARIATION = 0.3
"""The same, of the factors by which a good share is varied."""


def plain_shares(sizes: np.ndarray) -> list[Share]:
    """Every ranking as it is, then those tilted by depth and by size.

    Args:
        sizes: channels of each cluster in the order of the graph, int64 (clusters,).
    """
    count = sizes.size
    even = np.ones(count)
    shares = [Share(ranking, ranking, even) for ranking in RANKINGS]
    if count < 2:
        return shares
    tilts = {"late layers": np.linspace(-1, 1, count)}
    if sizes.min() < sizes.max():
        logs = np.log(sizes)
        tilts["large groups"] = 2 * (logs - logs.min()) / (logs.max() - logs.min()) - 1
    for what, tilt in tilts.items():
        shares.append(Share(f"{what} more", "local", np.exp(TILT * tilt)))
        shares.append(Share(f"{what} less", "local", np.exp(-TILT * tilt)))
    return shares


def random_share(count: int, rng: np.random.Generator) -> Share:
    """Rates drawn from a log-normal distribution, on any of the rankings."""
    ranking = RANKINGS[int(rng.integers(len(RANKINGS)))]
    spread = SPREADS[int(rng.integers(len(SPREADS)))]
    return Share("random", ranking, np.exp(spread * rng.standard_normal(count)))


def varied_share(share: Share, rng: np.random.Generator) -> Share:
    """The share with about half of its rates changed, at least one."""
    count = share.rates.size
    changed = rng.random(count) < 0.5
    changed[int(rng.integers(count))] = True
    factors = np.exp(VARIATION * rng.standard_normal(count) * changed)
    return replace(share, name="varied", rates=share.rates * factors)
