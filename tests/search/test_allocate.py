"""Shares of a budget: each meets it, and says only how the groups compare."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from graphprune import analyse, capture
from graphprune.analysis.groups import Analysis
from graphprune.choosing.budget import TOLERANCE, choose
from graphprune.choosing.ranking import RANKINGS
from graphprune.choosing.target import Target
from graphprune.errors import TargetError
from graphprune.searching.allocate import Allocator, Share
from graphprune.searching.proposals import plain_shares, random_share, varied_share


def analysis() -> Analysis:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 40, 3), nn.ReLU(), nn.Conv2d(40, 60, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(240, 80), nn.ReLU(), nn.Linear(80, 3)),
    )
    return analyse(capture(model, torch.randn(2, 1, 6, 6)).module)


def scores(found: Analysis) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {g.name: torch.randn(g.size, generator=generator) for g in found.groups}


def widths(allocator: Allocator, share: Share) -> list[int]:
    return [after for _, after in allocator.choose(share).plan.widths.values()]


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("target", ["macs=0.4", "params=0.3"])
def test_even_rates_choose_what_compress_chooses(ranking: str, target: str) -> None:
    found = analysis()
    kind, _, fraction = target.partition("=")
    allocator = Allocator(found, scores(found), Target(kind, float(fraction)))
    even = Share(ranking, ranking, np.ones(allocator.sizes.size))
    assert allocator.choose(even).plan.kept == (
        choose(found, scores(found), target, ranking=ranking).plan.kept
    )


@pytest.mark.parametrize("kind", ["macs", "params", "channels"])
def test_every_share_meets_the_budget_and_the_plan_fits(kind: str) -> None:
    found = analysis()
    allocator = Allocator(found, scores(found), Target(kind, 0.4))
    rng = np.random.default_rng(0)
    shares = plain_shares(allocator.sizes)
    shares += [random_share(3, rng) for _ in range(10)]
    shares += [varied_share(share, rng) for share in shares[-5:]]
    assert len({share.name for share in shares}) == 9
    made = set()
    for share in shares:
        choice = allocator.choose(share)
        assert choice.reached == pytest.approx(0.4, abs=TOLERANCE)
        assert choice.note == ""
        choice.plan.keep(found)
        made.add(str(choice.plan.widths))
    assert len(made) > 10


def test_a_group_of_twice_the_rate_loses_twice_the_share() -> None:
    found = analysis()
    allocator = Allocator(found, scores(found), Target("channels", 0.7))
    assert allocator.sizes.tolist() == [40, 60, 80]
    # t (40 + 2 * 60 + 80) = 0.3 * 180 channels go, so t = 0.225.
    assert widths(allocator, Share("", "local", np.array([1.0, 2.0, 1.0]))) == [31, 33, 62]


def test_channels_go_in_the_order_of_their_scores() -> None:
    found = analysis()
    ranked = scores(found)
    allocator = Allocator(found, ranked, Target("channels", 0.5))
    plan = allocator.choose(Share("", "global", np.array([1.0, 1.0, 3.0]))).plan
    name = found.groups[2].name
    kept = plan.kept[name][0]
    order = ranked[name].argsort(descending=True)
    assert 0 < len(kept) < 80
    assert sorted(order[: len(kept)].tolist()) == kept


def test_what_cannot_be_reached_is_refused() -> None:
    found = analysis()
    allocator = Allocator(found, scores(found), Target("channels", 0.001))
    with pytest.raises(TargetError, match="cannot be reached"):
        allocator.choose(Share("", "local", np.ones(3)))


def test_random_and_varied_shares_depend_on_the_state_alone() -> None:
    once, again = (np.random.default_rng(3) for _ in range(2))
    first, second = random_share(4, once), random_share(4, again)
    assert first.ranking == second.ranking
    assert (first.rates == second.rates).all()
    assert (first.rates > 0).all()
    other = varied_share(first, once)
    assert (other.rates != first.rates).any()
    assert (varied_share(first, again).rates == other.rates).all()


def test_one_group_can_only_be_ranked() -> None:
    assert [share.name for share in plain_shares(np.array([8]))] == list(RANKINGS)
