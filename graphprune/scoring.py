"""Scores for every channel group, by the method asked for: learned switches or a criterion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from graphprune.capture import Captured
from graphprune.criteria.base import Evidence
from graphprune.devices import Batch
from graphprune.groups import Analysis
from graphprune.io.loss import Loss
from graphprune.learn import LearnConfig, LearnResult, learn_switches
from graphprune.methods import Method, resolve_method
from graphprune.progress import Progress
from graphprune.switches.method import SwitchMethod
from graphprune.switches.placement import switch_sites


@dataclass(frozen=True)
class Scores:
    """Importance of channels and where it came from.

    Attributes:
        by_group: group name to float tensor of shape (D,); larger stays longer.
        method: the method used.
        learned: what the switches learned, None for a criterion.
        notes: lines for the user.
    """

    by_group: dict[str, torch.Tensor]
    method: str
    learned: LearnResult | None = None
    notes: tuple[str, ...] = field(default=())


def score_channels(  # noqa: PLR0913
    captured: Captured,
    analysis: Analysis,
    method: str | Method,
    data: Iterable[Batch] | None,
    *,
    learn: LearnConfig,
    loss: Loss | None = None,
    progress: Progress | None = None,
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

    Raises:
        UsageError: the method names no criterion, or one that needs data lacks them.
    """
    method, _ = resolve_method(method, data is not None)
    if not isinstance(method, SwitchMethod):
        evidence = Evidence(analysis, captured, data, loss, learn.seed, progress)
        by_group = method.score(evidence)
        return Scores(by_group, method.name, notes=tuple(evidence.notes))
    assert data is not None
    result = learn_switches(
        captured,
        switch_sites(analysis),
        data,
        method.prepared(analysis),
        config=learn,
        loss=loss,
        progress=progress,
    )
    by_group, unreached = {}, []
    for group in analysis.groups:
        found = result.scores.get(group.name, torch.ones(0))
        if found.numel() < group.size:  # no site scales these channels: neither good nor bad
            unreached.append(group.name)
            found = torch.cat([found, torch.ones(group.size - found.numel())])
        by_group[group.name] = found
    notes = (
        (f"no switch reaches all of {', '.join(unreached[:3])}: mean importance assumed there",)
        if unreached
        else ()
    )
    return Scores(by_group, method.name, result, notes)
