"""Target ``auto``: what the learned posterior holds for unimportant goes, no fraction given.

Each switch tells the probability that a channel's scale is less than a given share of what an
equal channel has (:meth:`graphprune.switches.base.Switch.below`; for Dirichlet switches a Beta
distribution function). "Dirichlet Pruning" leaves the use of the posterior's spread as future work
(section 3.4).

Channels that can go only together (columns of all heads, whole heads) go when their probabilities
average to the confidence. So of all that goes, at most the share 1 - confidence is expected to lie
above the cut-off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from graphprune.analysis.groups import Analysis
from graphprune.choosing.budget import Choice, choose, require_groups
from graphprune.choosing.guard import Guard
from graphprune.choosing.order import clusters
from graphprune.choosing.plan import plan_from_classes
from graphprune.choosing.target import AutoTarget, Target
from graphprune.choosing.thinning import FREELY, Step, Thinning, removal_order
from graphprune.errors import TargetError
from graphprune.importance import handed_over
from graphprune.importance.credibility import learn_longer
from graphprune.importance.scoring import Scores

_ROUNDING = 1e-9
_FEW = 300
"""Examples below which the user is told: from 100 images of MNIST a fifth of what went is needed by
the measure of 5,400, from 300 and more at most the share asked for (docs/decisions)."""


@dataclass(frozen=True)
class _Evidence:
    """By class: the probability to have at least the share asked for, and the importance."""

    above: np.ndarray
    importance: np.ndarray


def decide(
    analysis: Analysis,
    scores: Scores,
    target: Target | AutoTarget,
    *,
    ranking: str,
    thinning: Thinning,
    original: Analysis | None = None,
) -> Choice:
    """The channels to keep for a target of either kind; ``original`` as :func:`choose` takes it.

    Raises:
        TargetError: see :func:`cut_off` and :func:`graphprune.choosing.budget.choose`.
    """
    if isinstance(target, AutoTarget):
        return cut_off(analysis, scores, target, thinning=thinning)
    return choose(
        analysis,
        scores.by_group,
        target,
        ranking=ranking,
        method=scores.method,
        thinning=thinning,
        original=original,
    )


def cut_off(
    analysis: Analysis, scores: Scores, target: AutoTarget, *, thinning: Thinning = FREELY
) -> Choice:
    """Choose the channels to keep by how sure it is that the others are unimportant.

    Every tensor keeps one channel at least. A channel that no switch scales stays.

    Args:
        analysis: of the captured graph.
        scores: by switches that were learned with ``LearnConfig(spread=True)``.
        target: the confidence and the cut-off.
        thinning: what rows of grids may lose, and which widths may be left.

    Raises:
        TargetError: nothing was learned that tells how sure it is, or nothing lies below.
    """
    require_groups(analysis)
    thinning = thinning.exact()  # a step of several channels would hide the least sure of them
    below = unimportance(analysis, scores, target.share)
    evidence = _by_class(analysis, scores, below)
    going = _going(analysis, evidence, target.confidence, thinning)
    guard, stays, kept = Guard(analysis), np.ones(analysis.classes, dtype=bool), 0
    for step in going:
        fresh = [one for one in step.classes if stays[one]]
        if guard.remove(fresh):
            stays[fresh] = False
        else:
            kept += 1
    if stays.all():
        surest = max(float(values.max()) for values in below.values())
        if surest >= target.confidence:
            raise TargetError(
                f"{target} removes nothing: channels are unimportant with that confidence, but not "
                "as many as must go together (--heads, --round-to, whole rows); ask for "
                "--round-to 1, for less confidence or a larger share, or name a fraction such as "
                "macs=0.5"
            )
        raise TargetError(
            f"{target} removes nothing: no channels that may go are unimportant with that "
            f"confidence, the surest channel with {surest:.1%}; {learn_longer(scores.steps)} or "
            "from more data, ask for less confidence or a larger share, or name a fraction such as "
            "macs=0.5"
        )
    plan = plan_from_classes(analysis, stays, target=str(target), method=scores.method)
    total = sum(group.size for group in analysis.groups)
    left = sum(after for _, after in plan.widths.values())
    note = _note(target, evidence.above, stays, analysis.group_of_class[:-1] >= 0)
    note += _warning(plan.widths, kept, scores.steps)
    examples = scores.learned.examples if scores.learned is not None else 0
    if 0 < examples < _FEW:
        note += (
            f". From so few examples ({examples}) it is surer than it should be: check the "
            "accuracy on other data, or learn from more"
        )
    return Choice(plan, left / total, note, below)


def unimportance(analysis: Analysis, scores: Scores, share: float) -> dict[str, torch.Tensor]:
    """By group: the probability that each channel has less than ``share`` of an equal share.

    Where switches were learned from two halves of the data too, the least of what all say: a
    posterior knows how much it has seen, not how it would have come out on other examples.
    float64 (D,); 0 for channels that no switch scales.

    Raises:
        TargetError: the switches do not tell, or there are none.
        UsageError: someone else's switch tells what is no probability.
    """
    found = {}
    learned = scores.learned
    if learned is None or not learned.switches:
        raise TargetError(f"{scores.method} learned no switches, so target auto cannot be used")
    for group in analysis.groups:
        values = torch.zeros(group.size, dtype=torch.float64)
        if group.name in learned.switches:
            sides = (learned.switches, *learned.halves)
            known = _least(
                [handed_over.below(learned.method, side[group.name], share) for side in sides]
            )
            if known is None:
                raise TargetError(
                    f"{scores.method} learned no spread for {group.name}, so target auto cannot "
                    "be used; learn with LearnConfig(spread=True)"
                )
            values[: known.numel()] = known
        found[group.name] = values
    return found


def _least(each: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """What all of the data and each half of them say: the smallest probability of each channel."""
    found = [one for one in each if one is not None]
    return torch.stack(found).amin(0) if len(found) == len(each) else None


def _by_class(analysis: Analysis, scores: Scores, below: dict[str, torch.Tensor]) -> _Evidence:
    above, importance = np.ones(analysis.classes), np.zeros(analysis.classes)
    for group in analysis.groups:
        above[group.channels] = 1 - below[group.name].numpy()
        importance[group.channels] = scores.by_group[group.name].double().cpu().numpy()
    inside = analysis.group_of_class[:-1] >= 0
    for row in map(np.array, analysis.settled.row_units):
        if inside[row].any():  # what stands for a row (a head's own parameters) has no say
            above[row[~inside[row]]] = above[row[inside[row]]].mean()
    return _Evidence(above, importance)


def _going(
    analysis: Analysis, evidence: _Evidence, confidence: float, thinning: Thinning
) -> list[Step]:
    """Steps within the confidence; the surest first, among equals the least important."""
    limit = 1 - confidence + _ROUNDING
    steps = [
        step
        for groups, rows in clusters(analysis)
        for step in removal_order(groups, rows, evidence.above, thinning)
        if step.value <= limit
    ]
    importance = evidence.importance
    return sorted(steps, key=lambda step: (step.value, float(importance[[*step.classes]].mean())))


def _note(target: AutoTarget, above: np.ndarray, stays: np.ndarray, inside: np.ndarray) -> str:
    gone = above[inside & ~stays]
    return (
        f"{gone.size} of {int(inside.sum())} channels went: each, or those that go together on "
        f"average, has less than {target.share:.0%} of an equal share with a probability of "
        f"{target.confidence:.1%} or more, and "
        f"{gone.sum():.2g} of them are expected to have more, if the posterior is right"
    )


def _warning(widths: dict[str, tuple[int, int]], refused: int, steps: int) -> str:
    """What to do where next to nothing is left of a group."""
    bare = [name for name, (before, after) in widths.items() if after == 1 < before]
    if not bare and not refused:
        return ""
    where = ", ".join(bare[:3]) or "some tensors"
    return (
        f". Next to nothing is left of {where}: check the accuracy, and ask for more "
        f"confidence or a smaller share, or {learn_longer(steps)}"
    )
