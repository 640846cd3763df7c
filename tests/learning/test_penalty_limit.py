"""A penalty that would drown what the data say weighs less."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from planted import PLANTED
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.importance.learn import LearnResult, learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.penalty_limit import LARGEST_SHARE, heaviest_weight
from graphprune.registry import SWITCHES
from graphprune.switches.dirichlet import Dirichlet
from graphprune.switches.flops import Flops
from graphprune.switches.group_lasso import GroupLasso
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.switches.network import SwitchedNetwork
from graphprune.switches.placement import switch_sites
from graphprune.training.devices import Runtime

STRENGTH = 50.0


def heaviest(method: SwitchMethod, *, sign: float = 1.0) -> tuple[float, float]:
    """The limit in a network of four channels, and what closing them all adds to its loss."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    x = torch.randn(12, 3)
    captured = capture(model, x)
    sites = switch_sites(analyse(captured.module))
    switches = {
        site.group: method.switch(SwitchGroup(site.group, 4, batched=True)) for site in sites
    }
    runtime = Runtime()
    network = SwitchedNetwork(captured, sites, switches, runtime.device)
    with torch.no_grad():
        wanted = model(x)
        # The first site is the first linear's output, behind which a ReLU follows.
        closed = model[2](torch.zeros(12, 4))

    def fit(network: SwitchedNetwork, inputs: object, target: object) -> torch.Tensor:
        del target
        args, _ = network.inputs(inputs)
        return sign * F.mse_loss(network.module(*args), wanted)

    found = heaviest_weight(network, [((x,), None)], fit, runtime)
    assert not network.module.training
    assert all(switch.training and not switch.closed for switch in switches.values())
    return found, float(F.mse_loss(closed, wanted))


def test_the_whole_penalty_buys_a_share_of_what_all_channels_are_worth() -> None:
    found, worth = heaviest(GroupLasso(strength=STRENGTH))
    assert worth > 0
    assert found == pytest.approx(LARGEST_SHARE * worth / (4 * STRENGTH), rel=1e-5)


def test_nothing_limits_it_where_closing_costs_nothing() -> None:
    assert heaviest(GroupLasso(), sign=-1.0)[0] == math.inf


def test_nothing_limits_shares_of_a_whole() -> None:
    assert heaviest(Dirichlet())[0] == math.inf


def learn(name: str, network: str, **options: float) -> tuple[LearnResult, list[torch.Tensor]]:
    """At default options from 96 examples: the result, and scores of (planted, live) channels."""
    planted = PLANTED[network]()
    method = SWITCHES.load(name)().prepared(planted.analysis)
    result = learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.unlabelled,
        method,
        config=LearnConfig(**options),  # type: ignore[arg-type]
    )
    planted_scores, live = [], []
    for group, kinds in planted.groups.items():
        scores = result.scores[group]
        marked = torch.zeros(len(scores), dtype=torch.bool)
        marked[list(kinds.all)] = True
        planted_scores.append(scores[marked])
        live.append(scores[~marked])
    return result, [torch.cat(planted_scores), torch.cat(live)]


@pytest.mark.parametrize("name", SWITCHES.names())
def test_few_examples_tell_channels_that_carry_nothing(name: str) -> None:
    _, (planted, live) = learn(name, "plain")
    pairs = planted[:, None] < live
    assert float(pairs.float().mean()) > 0.75
    assert planted.median() < live.median()


@pytest.mark.parametrize("name", ["l0", "fdoo"])
def test_gates_would_all_close_otherwise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limited, (planted, live) = learn(name, "plain")
    assert (limited.penalty_share < 0.5) is (name == "l0")  # a budget gets its full weight
    assert planted.max() < live.min()
    monkeypatch.setattr("graphprune.importance.learn.heaviest_weight", lambda *_: math.inf)
    unlimited, (planted, live) = learn(name, "plain")
    assert unlimited.penalty_share == 1
    assert planted.max() > live.min()


@pytest.mark.parametrize("target", [0.5, 0.2])
def test_a_budget_is_held_in_the_end(target: float) -> None:
    planted = PLANTED["plain"]()
    method = Flops(target=target).prepared(planted.analysis)
    scores = learn_switches(
        planted.captured, switch_sites(planted.analysis), planted.unlabelled, method
    ).scores
    assert method.meter is not None
    assert target / 2 < float(method.meter(scores)) < target + 0.03


def test_no_penalty_is_not_limited() -> None:
    assert learn("l0", "attention", kl_weight=0.0, max_steps=4)[0].penalty_share == 1


def test_the_user_is_told() -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 6)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    result = compress(
        model,
        x[:2],
        data=x,
        method="l0",
        target="channels=0.5",
        config=CompressConfig(batch_size=16, learn=LearnConfig(epochs=1)),
    )
    assert any("the penalty of l0 was lowered to" in note for note in result.report.notes)
