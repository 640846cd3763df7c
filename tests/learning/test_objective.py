"""What the learning loop minimises: eq. 7 of Dirichlet Pruning, term by term."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from torch import nn

import graphprune
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.switches.placement import switch_sites

BATCH, BATCHES = 8, 4


@dataclass(frozen=True)
class _Told:
    """What the switches of one run were asked for."""

    draws: list[str] = field(default_factory=list)
    pulls: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Recording(SwitchMethod):
    """Scales of one whatever is learned, so that the penalty alone has a gradient."""

    name: ClassVar[str] = "recording"
    told: _Told

    @property
    def step(self) -> float:
        return 1e-3

    def switch(self, group: SwitchGroup) -> Switch:
        return _RecordingSwitch(group, self.told)


class _RecordingSwitch(Switch):
    def __init__(self, group: SwitchGroup, told: _Told) -> None:
        super().__init__(group.size)
        self.name, self.told = group.name, told
        self.raw = nn.Parameter(torch.zeros(()))

    def sample(self, examples: int | None = None) -> torch.Tensor:
        del examples
        self.told.draws.append(self.name)
        return self.mean()

    def mean(self) -> torch.Tensor:
        return torch.ones(self.size) + 0 * self.raw

    def penalty(self) -> torch.Tensor:
        pull = 2.0 * self.raw
        pull.register_hook(lambda gradient: self.told.pulls.append(float(gradient)))
        return pull

    def uncertainty(self) -> torch.Tensor:
        return torch.zeros(self.size)


def _learn(**config: object) -> _Told:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    captured = graphprune.capture(model.eval(), torch.randn(2, 3))
    sites = switch_sites(graphprune.analyse(captured.module))
    data = [(torch.randn(BATCH, 3), torch.randint(0, 2, (BATCH,))) for _ in range(BATCHES)]
    told = _Told()
    learn = LearnConfig(**{"epochs": 1, "intervals": False, **config})  # type: ignore[arg-type]
    learn_switches(captured, sites, data, _Recording(told=told), config=learn)
    del told.draws[:2]  # one of each switch, tried out before anything is learned
    return told


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_penalty_is_divided_by_the_number_of_examples(weight: float) -> None:
    told = _learn(kl_weight=weight)
    assert told.pulls == pytest.approx([weight / (BATCH * BATCHES)] * len(told.pulls))
    assert len(told.pulls) == 2 * BATCHES, "one for each group and step"


def test_its_weight_grows_over_the_share_of_steps_asked_for() -> None:
    pulls = _learn(kl_anneal=0.5).pulls
    full = 1 / (BATCH * BATCHES)
    assert pulls[::2] == pytest.approx([full / 2, full, full, full])


@pytest.mark.parametrize("samples", [1, 3])
def test_each_step_takes_as_many_draws_as_asked_for(samples: int) -> None:
    told = _learn(samples=samples)
    assert len(told.draws) == 2 * BATCHES * samples
    assert told.pulls == pytest.approx([1 / (BATCH * BATCHES)] * 2 * BATCHES), "not once a draw"


def test_in_sequence_the_other_groups_are_left_out() -> None:
    draws = _learn(mode="sequential").draws
    first, second = dict.fromkeys(draws)
    assert draws == [first] * BATCHES + [second] * BATCHES
    assert _learn().draws == [first, second] * BATCHES
