"""Every criterion that looks at data finds the channels that do not matter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from planted import PLANTED, assert_planted_last

from graphprune.criteria.base import Evidence, needs_data
from graphprune.criteria.magnitude import L2
from graphprune.registry import CRITERIA

MEASURED = [name for name in CRITERIA.names() if needs_data(CRITERIA.load(name))]

# What consumers make of an activation does not show in it.
BLIND = {"activation-mean", "activation-var"}


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("network", PLANTED)
@pytest.mark.parametrize("name", MEASURED)
def test_planted_channels_rank_last(name: str, network: str, labels: bool) -> None:
    planted = PLANTED[network]()
    data: Any = planted.data if labels else planted.unlabelled
    scores = CRITERIA.load(name)().score(Evidence(planted.analysis, planted.captured, data))
    assert all(bool(torch.isfinite(values).all()) for values in scores.values())
    assert_planted_last(planted, scores, "silent" if name in BLIND else "all")


@pytest.mark.parametrize("name", sorted(BLIND))
def test_activations_cannot_see_that_a_channel_is_ignored(name: str) -> None:
    """As their documentation says; a method that does better should leave the list above."""
    planted = PLANTED["plain"]()
    evidence = Evidence(planted.analysis, planted.captured, planted.data)
    scores = CRITERIA.load(name)().score(evidence)
    with pytest.raises(AssertionError, match="planted"):
        assert_planted_last(planted, scores, "ignored")


@pytest.mark.parametrize("network", PLANTED)
def test_weights_alone_are_fooled(network: str) -> None:
    planted = PLANTED[network]()
    with pytest.raises(AssertionError, match="planted"):
        assert_planted_last(planted, L2().score(Evidence(planted.analysis)))
