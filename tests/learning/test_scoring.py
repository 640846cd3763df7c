"""Scores of learned methods, for channels too that no switch reaches."""

from __future__ import annotations

import pytest
import torch
from planted import planted_plain

from graphprune.importance import scoring
from graphprune.importance.learn_config import SMALLEST_BATCH, LearnConfig
from graphprune.importance.scoring import ranking_batches, score_channels
from graphprune.io import as_data
from graphprune.switches.bc_gnj import GroupNormalJeffreys
from graphprune.switches.placement import switch_sites
from graphprune.training.feed import Feed


def test_channels_that_no_switch_reaches_are_neither_good_nor_bad(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted = planted_plain()
    sites = switch_sites(planted.analysis)
    missed = sites[-1].group
    kept = tuple(site for site in sites if site.group != missed)
    monkeypatch.setattr(scoring, "switch_sites", lambda analysis: kept)
    scores = score_channels(
        planted.captured,
        planted.analysis,
        GroupNormalJeffreys(),
        planted.data,
        learn=LearnConfig(max_steps=3),
    )
    learned = torch.cat([values for name, values in scores.by_group.items() if name != missed])
    assert learned.mean() > 1.5  # these scores have no mean of 1
    torch.testing.assert_close(
        scores.by_group[missed], learned.mean().expand(len(scores.by_group[missed]))
    )
    assert missed in scores.notes[0]


@pytest.mark.parametrize(
    ("method", "fixed", "size"),
    [
        ("auto", False, SMALLEST_BATCH),
        ("sbp", False, SMALLEST_BATCH),
        ("dirichlet", True, 64),  # the model takes no other size
        ("dirichlet{weights=trained}", False, 64),
        ("taylor", False, 64),
    ],
)
def test_little_data_come_to_switches_alone_in_small_batches(
    method: str, fixed: bool, size: int
) -> None:
    feed = Feed(as_data((torch.randn(400, 3), torch.arange(400))), 64, fixed)
    batches = list(ranking_batches(feed, method, LearnConfig()))
    assert {len(target) for _, target in batches} == {size}
    again = ranking_batches(feed, method, LearnConfig(epochs=1))
    assert {len(target) for _, target in again} == {64}
