"""One budget over all parts: the share of channels that brings the whole model to its target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from graphprune.analysis.groups import Analysis
from graphprune.choosing.budget import TOLERANCE, Choice, choose
from graphprune.choosing.cost import cost_model
from graphprune.choosing.plan import Plan
from graphprune.choosing.target import Target
from graphprune.errors import TargetError
from graphprune.partial.parts import Part

_STEPS = 12  # halvings of the channel fraction: finer than one channel of 4096

Scores = Mapping[str, Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Whole:
    """Size of the whole model, in the unit of the target.

    Attributes:
        total: parameters, or MACs of the observed run.
        in_parts: how much of it lies in each part, by name.
    """

    total: float
    in_parts: Mapping[str, float]


@dataclass(frozen=True)
class Shares:
    """Plans by part, and how near they come.

    Attributes:
        plans: by the part's name.
        reached: fraction of the target's kind that stays.
        note: one line where the target was missed by more than the tolerance, else "".
    """

    plans: dict[str, Plan]
    reached: float
    note: str = ""


def share_out(
    parts: Sequence[Part],
    scores: Scores,
    target: Target,
    whole: Whole,
    choose: Callable[[Analysis, Mapping[str, torch.Tensor], Target], Choice] = choose,
) -> Shares:
    """Choose the channels of every part.

    ``channels`` thins each part alike. For ``params`` and ``macs`` every group of every part keeps
    the same fraction of its channels, found by bisection such that the sum over the model (what
    lies outside of the parts stays) comes nearest to the target.

    Args:
        parts: at least one.
        scores: by part and group.
        target: what fraction of the whole model stays.
        whole: see :class:`Whole`; of no account for ``channels``.
        choose: chooses the channels of one graph, see :func:`graphprune.choosing.budget.choose`.

    Raises:
        TargetError: even one channel a layer is too many.
    """

    def plans(fraction: float) -> dict[str, Plan]:
        asked = Target("channels", fraction)
        return {
            part.name: choose(part.analyses[0], scores[part.name], asked).plan for part in parts
        }

    if target.kind == "channels":
        return _by_channels(plans(target.fraction), target)
    measures = {part.name: _measure(part.analyses[0], target.kind) for part in parts}

    def remaining(chosen: Mapping[str, Plan]) -> float:
        gone = sum(
            whole.in_parts[name] * (1 - measures[name](plan)) for name, plan in chosen.items()
        )
        return 1 - gone / whole.total

    return _by_size(plans, remaining, target)


def _by_channels(plans: dict[str, Plan], target: Target) -> Shares:
    pairs = [pair for plan in plans.values() for pair in plan.widths.values()]
    reached = sum(after for _, after in pairs) / sum(before for before, _ in pairs)
    note = _note(target, reached) if reached - target.fraction > 0.05 else ""
    return Shares(plans, reached, note)


def _by_size(
    plans: Callable[[float], dict[str, Plan]],
    remaining: Callable[[Mapping[str, Plan]], float],
    target: Target,
) -> Shares:
    best = smallest = plans(1e-9)
    reached = floor = remaining(smallest)
    if floor > target.fraction + TOLERANCE:
        raise TargetError(
            f"{target} cannot be reached: with one channel left in every layer of the captured "
            f"parts {target.kind}={floor:.3f} of the whole model remain; ask for at least that"
        )
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        chosen = plans(middle)
        now = remaining(chosen)
        if abs(now - target.fraction) < abs(reached - target.fraction):
            best, reached = chosen, now
        low, high = (low, middle) if now > target.fraction else (middle, high)
    note = _note(target, reached) if abs(reached - target.fraction) > TOLERANCE else ""
    return Shares({n: replace(p, target=str(target)) for n, p in best.items()}, reached, note)


def _measure(analysis: Analysis, kind: str) -> Callable[[Plan], float]:
    """Share of a part's parameters or MACs that a plan keeps."""
    measure = cost_model(analysis).of(kind)
    dense = measure(np.ones(analysis.classes, dtype=bool))

    def share(plan: Plan) -> float:
        if dense <= 0:
            return 1.0
        classes = np.ones(analysis.classes, dtype=bool)
        atoms = plan.keep(analysis).atoms[:-1].numpy()
        classes[analysis.class_of[:-1]] = atoms
        return measure(classes) / dense

    return share


def _note(target: Target, reached: float) -> str:
    return (
        f"asked for {target}, reached {target.kind}={reached:.4f}: "
        "in this order the channels go in steps of this size"
    )
