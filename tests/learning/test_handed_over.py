"""What plug-ins hand over wrongly is an error of one line that names them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
from planted import planted_plain
from torch import nn
from torch.utils.data import DataLoader

from graphprune.analysis.groups import Analysis
from graphprune.choosing.cutoff import unimportance
from graphprune.criteria.base import Evidence, parameters_of
from graphprune.errors import TargetError, UsageError
from graphprune.importance import handed_over, spread
from graphprune.importance.learn import LearnConfig, learn_switches
from graphprune.importance.methods import make_method, resolve_method
from graphprune.importance.scoring import score_channels
from graphprune.importance.spread import check_auto
from graphprune.registry import SWITCHES
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.switches.placement import switch_sites


class Scale(Switch):
    """A plain scale of each channel."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.scale = nn.Parameter(torch.ones(size))
        self.drawn = 0

    def sample(self, examples: int | None = None) -> torch.Tensor:
        return self.scale if examples is None else self.scale.expand(examples, self.size)

    def mean(self) -> torch.Tensor:
        return self.scale

    def penalty(self) -> torch.Tensor:
        return self.scale.sum()

    def uncertainty(self) -> torch.Tensor:
        return torch.zeros(self.size)


@dataclass(frozen=True, kw_only=True)
class Theirs(SwitchMethod):
    """Of someone else's: a scale of which some answers are replaced."""

    name: ClassVar[str] = "theirs"
    step: ClassVar[float] = 0.05
    answers: Any = None

    def switch(self, group: SwitchGroup) -> Switch:
        made: Switch = Scale(group.size)
        for name, answer in (self.answers or {}).items():
            object.__setattr__(made, name, lambda *given, answer=answer: answer(made))
        return made


class PerExample(Scale):
    def __init__(self, size: int) -> None:
        Switch.__init__(self, size, per_example=True)
        self.scale = nn.Parameter(torch.ones(size))

    def sample(self, examples: int | None = None) -> torch.Tensor:
        return self.scale


class Plain(Scale):
    """A scale that is no parameter."""

    def __init__(self, size: int) -> None:
        Switch.__init__(self, size)
        self.scale = torch.ones(size, requires_grad=True)  # type: ignore[assignment]


class Joint(Scale):
    @classmethod
    def joint_penalty(cls, switches: Sequence[Switch]) -> torch.Tensor:
        return torch.zeros(3)


class Unjoined(Scale):
    @classmethod
    def joint_penalty(cls, switches: Sequence[Switch]) -> torch.Tensor:
        return 1 / 0  # type: ignore[return-value]


class Unclosed(Scale):
    @property
    def can_close(self) -> bool:
        return 1 / 0  # type: ignore[return-value]


class Swapped(Scale):
    importance_range: ClassVar[tuple[float, float]] = (0.9, 0.2)


class Unfinished(Switch):
    def sample(self, examples: int | None = None) -> torch.Tensor:
        return torch.ones(self.size)


def learn(method: Any) -> Any:
    planted = planted_plain()
    config = LearnConfig(max_steps=2)
    return score_channels(planted.captured, planted.analysis, method, planted.data, learn=config)


Answer = Callable[[Any], object]


def late(switch: Scale) -> torch.Tensor:
    """A draw that fails after the switch was tried out."""
    if switch.training and switch.drawn > 1:
        return {}["late"]  # type: ignore[no-any-return]
    switch.drawn += 1
    return switch.scale


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("sample", lambda s: s.scale[1:], r"sample\(None\) gave a float32 tensor of shape \(\d+,"),
        ("sample", lambda s: s.scale.detach(), r"sample\(None\) gave .* without a gradient"),
        ("sample", lambda s: None, r"sample\(None\) gave None; expected real numbers"),
        ("mean", lambda s: s.scale.sum(), r"mean\(\) gave a float32 tensor of shape \(\)"),
        ("penalty", lambda s: s.scale, r"penalty\(\) gave .* expected .* of shape \(\)"),
        ("penalty", lambda s: 0.0, r"penalty\(\) gave a float"),
        ("penalty", lambda s: 1 / 0, r"penalty\(\) raised ZeroDivisionError"),
        (
            "importance",
            lambda s: s.scale[:3],
            r"importance\(\) of group conv1.weight gave .*\(3,\)",
        ),
        ("importance", lambda s: s.scale * torch.nan, r"8 of 8 numbers that are not finite"),
        ("uncertainty", lambda s: torch.zeros(1), r"uncertainty\(\) of group conv1.weight gave"),
        ("posterior", lambda s: torch.zeros(2, 1), r"posterior\(\) .*expected .*\(\.\.\., 8\)"),
        ("interval", lambda s: torch.zeros(s.size), r"interval\(level\) .*expected .*\(2, 8\)"),
        ("interval", lambda s: [0.0, 1.0], r"interval\(level\) of group conv1.weight gave a list"),
        ("interval", lambda s: torch.full((2, s.size), torch.nan), r"16 of 16 numbers .* finite"),
        (
            "interval",
            lambda s: torch.stack([s.scale + 1, s.scale - 1]),
            r"interval\(level\) of group conv1.weight gave a least value above the greatest",
        ),
        ("uncertainty", lambda s: s.scale * torch.nan, r"8 of 8 numbers that are NaN or out of"),
        ("uncertainty", lambda s: -torch.ones(s.size), r"expected 0 to inf"),
        ("advance", lambda s: 1 / 0, r"advance\(share\) raised ZeroDivisionError"),
        ("sample", late, r"sample\(None\) raised KeyError: 'late'"),
        (
            "sample",
            lambda s: torch.ones(s.size, requires_grad=True),
            r"by the parameters of",
        ),
    ],
)
def test_a_switch_that_answers_wrongly_is_named(name: str, answer: Answer, words: str) -> None:
    with pytest.raises(UsageError, match=f"method theirs: .*{words}") as caught:
        learn(Theirs(answers={name: answer}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        (lambda group: nn.Linear(1, 1), r"switch\(group\) gave a Linear; expected a graphprune"),
        (lambda group: None, r"switch\(group\) gave None"),
        (lambda group: Scale(1), r"gave a switch of 1 channels; expected group.size, 8"),
        (lambda group: Unfinished(group.size), r"raised TypeError: Can't instantiate abstract"),
        (lambda group: PerExample(group.size), r"sample\(2\) gave .*; expected .* \(2, 8\)"),
        (lambda group: Plain(group.size), r"a switch without parameters, .* an nn.Parameter"),
        (lambda group: Unclosed(group.size), r"can_close raised ZeroDivisionError"),
        (
            lambda group: Swapped(group.size),
            r"importance_range is \(0.9, 0.2\); expected",
        ),
        (lambda group: Joint(group.size), r"joint_penalty\(switches\) raised .* scalar .*\[3\]"),
        (lambda group: Unjoined(group.size), r"joint_penalty\(switches\) raised ZeroDivisionError"),
        (cache(lambda group: Scale(group.size)), r"gave the same switch twice; expected a fresh"),
    ],
)
def test_what_is_no_switch_is_refused(
    switch: Callable[[SwitchGroup], Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Theirs, "switch", lambda self, group: switch(group))
    with pytest.raises(UsageError, match=f"method theirs: .*{words}"):
        learn(Theirs())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step": "fast"}, "step is 'fast'; expected a finite number, positive"),
        ({"step": -0.05}, "step is -0.05; expected"),
        ({"step": 0}, "step is 0; expected"),
        ({"step": torch.inf}, "step is inf; expected"),
        ({"step": property(lambda self: 1 / 0)}, "step raised ZeroDivisionError"),
        ({"decay": torch.nan}, "decay is nan; expected a finite number, not below 0"),
        ({"antithetic": True}, "is antithetic, but its switches have no mirrored_gradient"),
    ],
)
def test_numbers_that_nothing_can_be_learned_with(options: dict[str, object], words: str) -> None:
    changed = type("Changed", (Theirs,), {**options, "__module__": __name__})
    with pytest.raises(UsageError, match=f"method theirs:? .*{words}"):
        learn(changed())


@pytest.mark.parametrize("chance", [-280.0, 7.0, torch.nan])
def test_what_is_no_probability_is_refused(chance: float) -> None:
    made = Scale(4)
    object.__setattr__(made, "below", lambda share: torch.full((4,), chance))
    with pytest.raises(UsageError, match=r"theirs: below\(share\) gave 4 of 4 .*expected 0 to 1"):
        handed_over.below(Theirs(), made, 0.5)


def test_probabilities_by_which_channels_go_are_checked_as_well() -> None:
    planted = planted_plain()
    scores = learn(Theirs(answers={"below": lambda switch: torch.full((switch.size,), 1.5)}))
    with pytest.raises(UsageError, match=r"theirs: below\(share\) gave 8 of 8"):
        unimportance(planted.analysis, scores, 0.5)


@pytest.mark.parametrize("name", ["prepared", "settled"])
def test_a_method_that_forgets_to_return_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Theirs, name, lambda self, *given, **named: None)
    with pytest.raises(UsageError, match=rf"method theirs: {name}\(.*gave None; expected a Switch"):
        learn(Theirs())


def test_a_penalty_of_nothing_needs_no_gradient() -> None:
    assert learn(Theirs(answers={"penalty": lambda switch: torch.zeros(())})).by_group


def test_trying_switches_out_draws_nothing_for_the_caller() -> None:
    planted = planted_plain()
    before = torch.get_rng_state()
    learn_switches(
        planted.captured,
        switch_sites(planted.analysis),
        planted.data,
        config=LearnConfig(max_steps=1),
    )
    assert torch.equal(torch.get_rng_state(), before)


class Scores:
    """A criterion that answers with what it is given."""

    name: Any = "theirs"

    def __init__(self, answer: Callable[[Evidence, int], object]) -> None:
        self.answer = answer

    def score(self, evidence: Evidence) -> Any:
        return self.answer(evidence, 0)


def scored(evidence: Evidence, change: Callable[[torch.Tensor], object]) -> dict[str, object]:
    return {g.name: change(torch.arange(g.size).float()) for g in evidence.analysis.groups}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda e, n: None, r"score\(evidence\) gave None; expected a dict of tensors"),
        (lambda e, n: {}, r"gave no scores of group conv1.weight; expected those of every group"),
        (lambda e, n: scored(e, torch.Tensor.tolist), r"conv1.weight gave a list; expected real"),
        (lambda e, n: scored(e, lambda v: v[1:]), r"shape \(7,\); expected .* shape \(8,\)"),
        (lambda e, n: scored(e, lambda v: v * torch.inf), r"8 of 8 numbers that are not finite"),
        (lambda e, n: scored(e, lambda v: v > 1), r"gave a bool tensor"),
        (lambda e, n: {}["inner"], r"score\(evidence\) raised KeyError: 'inner'"),
    ],
)
def test_a_criterion_that_answers_wrongly_is_named(
    answer: Callable[[Evidence, int], object], words: str
) -> None:
    with pytest.raises(UsageError, match=f"method theirs: .*{words}") as caught:
        learn(Scores(answer))
    assert "\n" not in str(caught.value)


def weights(evidence: Evidence) -> torch.Tensor:
    return next(values for _, values in parameters_of(evidence.analysis, evidence.analysis.groups))


def written(how: Callable[[Evidence], object]) -> Callable[[Evidence, int], object]:
    """An answer that is right, from someone who has written into the model."""

    def answer(evidence: Evidence, number: int) -> object:
        how(evidence)
        return scored(evidence, lambda values: values)

    return answer


@pytest.mark.parametrize(
    ("how", "what"),
    [
        (lambda e: weights(e).abs_(), "tensor 'conv1.weight'"),
        (lambda e: weights(e).data.neg_(), "tensor 'conv1.weight'"),  # no counter sees this one
        (lambda e: weights(e).numpy().sort(), "tensor 'conv1.weight'"),  # nor this
        (lambda e: e.captured.module.train(), "the module"),  # type: ignore[union-attr]
    ],
)
def test_a_criterion_that_writes_into_the_model_is_named(
    how: Callable[[Evidence], object], what: str
) -> None:
    with pytest.raises(UsageError, match="method theirs changed the model") as caught:
        learn(Scores(written(how)))
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_criterion_may_put_back_what_it_has_changed() -> None:
    def tried(evidence: Evidence) -> None:
        values = weights(evidence)
        saved = values.clone()
        values.zero_()
        values.copy_(saved)

    assert learn(Scores(written(tried))).by_group


@dataclass(frozen=True, kw_only=True)
class Writing(Theirs):
    """Has seen the graph, and writes into it when a switch is made."""

    seen: Any = None

    def prepared(self, analysis: Analysis) -> Writing:
        return Writing(seen=analysis.module)

    def switch(self, group: SwitchGroup) -> Switch:
        next(self.seen.parameters()).data.zero_()
        return super().switch(group)


def test_a_switch_that_writes_into_the_model_is_named() -> None:
    with pytest.raises(UsageError, match=r"method theirs changed the model .*tensor 'conv1.weight"):
        learn(Writing())


class Shrinking:
    """A criterion that gives fewer scores for halves of the data, or none that are finite."""

    name, needs_data = "theirs", True

    def __init__(self, of_half: Callable[[torch.Tensor], object]) -> None:
        self.of_half, self.whole = of_half, None

    def __deepcopy__(self, memo: Any) -> Shrinking:
        return self

    def score(self, evidence: Evidence) -> Any:
        self.whole = self.whole or evidence.data
        half = evidence.data is not self.whole
        return scored(evidence, self.of_half if half else lambda values: values)


class Locked:
    """A criterion that holds what cannot be copied."""

    name, needs_data = "theirs", True

    def __init__(self, inner: Shrinking) -> None:
        self.inner, self.lock = inner, threading.Lock()

    def score(self, evidence: Evidence) -> Any:
        return self.inner.score(evidence)


def score_halves(criterion: Any) -> Any:
    planted = planted_plain()
    pairs = [
        (x, y) for (inputs,), target in planted.data for x, y in zip(inputs, target, strict=True)
    ]
    data = DataLoader(pairs, batch_size=8, shuffle=True)  # type: ignore[arg-type]
    return score_channels(planted.captured, planted.analysis, criterion, data, learn=LearnConfig())


@pytest.mark.parametrize(
    "of_half", [lambda values: values[1:], lambda values: None, lambda values: 1 / 0]
)
def test_a_criterion_that_cannot_answer_for_a_half_has_no_intervals(
    of_half: Callable[[torch.Tensor], object],
) -> None:
    scores = score_halves(Shrinking(of_half))
    assert scores.by_group
    assert not scores.measured


def test_a_criterion_that_cannot_be_copied_has_no_intervals() -> None:
    scores = score_halves(Locked(Shrinking(lambda values: values + 1)))
    assert scores.by_group
    assert not scores.measured


def test_scores_of_a_half_that_are_not_finite_give_no_intervals() -> None:
    assert score_halves(Shrinking(lambda values: values + 1)).measured
    assert not score_halves(Shrinking(lambda values: values * torch.nan)).measured


@dataclass(frozen=True, kw_only=True)
class Nameless(SwitchMethod):
    step: ClassVar[float] = 0.05

    def switch(self, group: SwitchGroup) -> Switch:
        return Scale(group.size)


class NamelessScores:
    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        return {}


def test_methods_without_a_name_and_classes_are_refused() -> None:
    for path in ("Nameless", "NamelessScores"):
        with pytest.raises(UsageError, match=f"{path} has no name"):
            make_method(f"{__name__}:{path}")
    with pytest.raises(UsageError, match="NamelessScores has no name"):
        resolve_method(NamelessScores(), has_data=True)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"method Theirs is a class; give an instance, Theirs\(\)"):
        resolve_method(Theirs, has_data=True)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="neither a SwitchMethod nor a criterion"):
        resolve_method(3, has_data=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "broken",
    [
        NamelessScores,
        lambda: Theirs(answers={"below": lambda switch: torch.ones(5)}),
        lambda: Theirs(answers={"sample": lambda switch: None}),
        lambda: Theirs(answers={"below": lambda switch: {}["inner"]}),
    ],
)
def test_a_broken_switch_of_others_does_not_hide_why_auto_is_refused(
    broken: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = SWITCHES.names()
    monkeypatch.setattr(SWITCHES, "names", lambda: [*names, "broken"])
    make = make_method
    monkeypatch.setattr(
        spread, "make_method", lambda name: broken() if name == "broken" else make(name)
    )
    with pytest.raises(TargetError, match=r"use .*dirichlet.* with --data") as caught:
        check_auto(make("l2"), "local")
    assert "broken" not in str(caught.value)


def test_switches_are_learned_by_name_as_well() -> None:
    planted = planted_plain()
    given = planted.captured, switch_sites(planted.analysis), planted.data
    config = LearnConfig(max_steps=1, intervals=False)
    assert learn_switches(*given, "sbp", config=config).method.name == "sbp"
    with pytest.raises(UsageError, match="method l2 is a criterion and learns no switches"):
        learn_switches(*given, "l2", config=config)
    with pytest.raises(UsageError, match="method 'sbd' is not known"):
        learn_switches(*given, "sbd", config=config)
    with pytest.raises(UsageError, match="neither a SwitchMethod nor a criterion"):
        learn_switches(*given, 3, config=config)  # type: ignore[arg-type]
