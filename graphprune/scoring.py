"""Scores for every channel group, by the method asked for: learned switches or a criterion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from graphprune.capture import Captured
from graphprune.devices import Batch
from graphprune.errors import UsageError
from graphprune.groups import Analysis
from graphprune.io.loss import Loss
from graphprune.learn import LearnConfig, LearnResult, learn_switches
from graphprune.progress import Progress
from graphprune.registry import CRITERIA
from graphprune.switches.placement import switch_sites

LEARNED = "dirichlet"


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


def resolve_method(method: str, has_data: bool) -> tuple[str, str]:
    """The method meant by ``auto``, with a note for the user.

    Raises:
        UsageError: an unknown method, or one that needs data where there are none.
    """
    if method == "auto":
        if has_data:
            return LEARNED, ""
        return "l2", "no data given: channels were ranked by the L2 norm of their weights"
    known = [LEARNED, *CRITERIA.names()]
    if method not in known and ":" not in method:
        raise UsageError(f"method {method!r} is not known; use auto, {', '.join(known)}")
    if method == LEARNED and not has_data:
        raise UsageError(
            "method dirichlet learns from data; give --data (data=), or use l2, l1 or random"
        )
    return method, ""


def score_channels(  # noqa: PLR0913
    captured: Captured,
    analysis: Analysis,
    method: str,
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
        method: a resolved method, see :func:`resolve_method`.
        data: batches ``(inputs, target or None)``; needed by learned methods.
        learn: how switches are learned; its seed serves criteria too.
        loss: the user's ``loss(output, target)``.
        progress: see :mod:`graphprune.progress`.

    Raises:
        UsageError: the method names no criterion, or one that needs data lacks them.
    """
    if method != LEARNED:
        criterion = CRITERIA.load(method)
        if not callable(getattr(criterion, "score", None)):
            raise UsageError(
                f"method {method} is no criterion: it has no score(analysis, seed); "
                "see graphprune.criteria.base.Criterion"
            )
        criterion = criterion() if isinstance(criterion, type) else criterion
        return Scores(criterion.score(analysis, learn.seed), method)
    if data is None:
        raise UsageError("method dirichlet learns from data; give --data (data=)")
    result = learn_switches(captured, switch_sites(analysis), data, learn, loss, progress)
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
    return Scores(by_group, method, result, notes)
