"""Scores for every channel group, by the method asked for: learned switches or a criterion."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, is_dataclass, replace
from itertools import zip_longest
from typing import Any

import torch
from torch.utils.data import DataLoader

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured
from graphprune.criteria.base import Criterion, Evidence, needs_data
from graphprune.errors import ModelError
from graphprune.importance import handed_over
from graphprune.importance.credibility import LEVEL, certainty, certainty_by_halves
from graphprune.importance.halves import halves_of, interval
from graphprune.importance.learn import LearnResult, learn_switches
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.methods import Method, resolve_method
from graphprune.io.loss import Loss
from graphprune.progress import Progress
from graphprune.switches.fold import fold_scales
from graphprune.switches.method import SwitchMethod
from graphprune.switches.placement import switch_sites
from graphprune.training.devices import Batch, Runtime
from graphprune.training.feed import Feed
from graphprune.training.gradients import learning

_WORTH_TELLING = 0.9
"""Of its weight that a penalty keeps: below this the user is told."""


@dataclass(frozen=True)
class Scores:
    """Importance of channels and where it came from.

    Attributes:
        by_group: group name to float tensor of shape (D,); larger stays longer.
        method: the method used.
        learned: what the switches learned, None for a criterion.
        notes: lines for the user.
        measured: of a criterion, intervals of each group's importance, (2, D), from two halves of
            the data; none where it needs no data, or they cannot be halved.
        trained: where the weights were trained along with the switches, the model with these
            weights and the mean scales in them, and its analysis; it is what is to be cut.
    """

    by_group: dict[str, torch.Tensor]
    method: str
    learned: LearnResult | None = None
    notes: tuple[str, ...] = field(default=())
    measured: dict[str, torch.Tensor] = field(default_factory=dict)
    trained: tuple[Captured, Analysis] | None = None

    @property
    def intervals(self) -> dict[str, torch.Tensor]:
        """Intervals of the importance of groups' first channels, (2, n), where they are known."""
        return self.learned.intervals if self.learned is not None else self.measured

    @property
    def certainty(self) -> str:
        """What the intervals are, or that the method gives none; one line."""
        if self.measured:
            return certainty_by_halves(self.method)
        halves = self.learned is not None and bool(self.learned.halves)
        return certainty(self.method, known=bool(self.intervals), halves=halves)

    @property
    def steps(self) -> int:
        """Steps that switches have learned for; 0 for a criterion."""
        return len(self.learned.history) if self.learned is not None else 0


@learning()
def score_channels(  # noqa: PLR0913
    captured: Captured,
    analysis: Analysis,
    method: str | Method,
    data: Iterable[Batch] | None,
    *,
    learn: LearnConfig,
    loss: Loss | None = None,
    progress: Progress | None = None,
    intervals: bool = True,
) -> Scores:
    """Score every channel of every group.

    Args:
        captured: the model; it stays as it is.
        analysis: of ``captured.module``.
        method: a kind of switch or a criterion, or its name.
        data: batches ``(inputs, target or None)``; kinds of switches and some criteria need them.
        learn: how switches are learned; its seed serves criteria too.
        loss: the user's ``loss(output, target)``.
        progress: see :mod:`graphprune.progress`.
        intervals: whether what is measured or learned is measured or learned on both halves of the
            data too; their mean is the result of some kinds of switches whatever is said here.

    Raises:
        UsageError: the method names no criterion, or one that needs data lacks them; or what it
            hands over is not what it should be, see :mod:`graphprune.importance.handed_over`; or it
            changed the model.
    """
    method, _ = resolve_method(method, data is not None)
    with handed_over.model_left_alone(method, *{captured.module, analysis.module}):
        if not isinstance(method, SwitchMethod):
            evidence = Evidence(analysis, captured, data, loss, learn.seed, progress)
            with torch.random.fork_rng():  # a loader draws a seed whenever it is read
                by_group = handed_over.scores(method, evidence)
            measured = _by_halves(method, evidence, by_group) if intervals else {}
            return Scores(by_group, method.name, notes=tuple(evidence.notes), measured=measured)
        assert data is not None
        sites = switch_sites(analysis)
        result = learn_switches(
            captured,
            sites,
            data,
            handed_over.prepared(method, analysis),
            config=replace(learn, intervals=learn.intervals and intervals),
            loss=loss,
            progress=progress,
        )
    by_group, unreached = {}, []
    for group in analysis.groups:
        found = result.scores.get(group.name, torch.ones(0))
        if found.numel() < group.size:  # no site scales these channels: neither good nor bad
            unreached.append(group.name)
            found = torch.cat([found, _typical(found, result).expand(group.size - found.numel())])
        by_group[group.name] = found
    notes = []
    if unreached:
        names = ", ".join(unreached[:3])
        notes.append(f"no switch reaches all of {names}: mean importance assumed there")
    if result.penalty_share < _WORTH_TELLING:
        share = f"{result.penalty_share:.1%} of its weight"
        notes.append(
            f"the penalty of {method.name} was lowered to {share}: it would have outweighed so few "
            "data; more examples make the ranking surer"
        )
    trained = None
    if result.weights is not None:
        scales = {name: switch.mean().detach() for name, switch in result.switches.items()}
        folded = fold_scales(captured, sites, scales, result.weights)
        trained = folded, _same_groups(analysis, analyse(folded.module))
    return Scores(by_group, method.name, result, tuple(notes), trained=trained)


def _by_halves(
    criterion: Criterion, evidence: Evidence, by_group: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Intervals of what a criterion measured, from what it measures on each half of the data."""
    if not needs_data(criterion) or evidence.data is None or Runtime().processes > 1:
        return {}
    generator = torch.Generator().manual_seed(evidence.seed)
    loaders = halves_of(evidence.data, generator)
    try:
        criterion = copy.deepcopy(criterion)
        limit = getattr(criterion, "batches", None)
        if is_dataclass(criterion) and isinstance(limit, int):
            criterion = replace(criterion, batches=(limit + 1) // 2)  # half of what was measured
        with torch.random.fork_rng():
            given = [criterion.score(replace(evidence, data=half, notes=[])) for half in loaders]
        halves = [handed_over.by_group(criterion, one, evidence.analysis) for one in given]
    except Exception:  # noqa: BLE001 - a plug-in need not bear to be asked again
        return {}
    finite = all(torch.isfinite(one).all() for half in halves for one in half.values())
    if not halves or not finite:
        return {}
    return {
        name: interval(scores, [half[name] for half in halves], LEVEL)
        for name, scores in by_group.items()
    }


def ranking_batches(feed: Feed, method: str | Method, learn: LearnConfig) -> DataLoader[Any]:
    """Training batches to rank channels on.

    Of the feed's size; perhaps smaller (:meth:`LearnConfig.batch_size`) for switches of a frozen
    model that takes any size.
    """
    chosen, _ = resolve_method(method, has_data=True)
    if feed.fixed or not isinstance(chosen, SwitchMethod) or chosen.weights == "trained":
        return feed.training(learn.seed)
    return feed.training(learn.seed, learn.batch_size(feed.examples, feed.batch_size))


def _typical(found: torch.Tensor, result: LearnResult) -> torch.Tensor:
    """Mean importance in the group, or in all groups, or 1 where no switch was learned; scalar."""
    known = found if found.numel() else torch.cat([torch.ones(0), *result.scores.values()])
    return known.mean() if known.numel() else torch.ones(())


def _same_groups(before: Analysis, after: Analysis) -> Analysis:
    """The second analysis; that of a graph with more factors in it must find the same channels.

    Raises:
        ModelError: it does not, so that scores of the first mean nothing in it.
    """
    for old, new in zip_longest(before.groups, after.groups):
        if old is None or new is None or (old.name, old.size) != (new.name, new.size):
            name = (old or new).name
            raise ModelError(
                f"the scales of {name} cannot be put into the trained weights; "
                "use a method with weights=frozen"
            )
    return after
