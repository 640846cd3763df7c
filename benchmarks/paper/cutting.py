"""Rank channels once, then cut to given widths or to a budget, each cut proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from benchmarks.compressing import AS_IN_PAPERS, Task, method_and_learning
from benchmarks.data import loader
from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.budget import choose
from graphprune.choosing.plan import Plan, plan_from_classes
from graphprune.cutting import cut, prove
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.scoring import Scores, score_channels


@dataclass(frozen=True)
class Ranked:
    """A captured model with the importance of its channels.

    ``captured`` is what is cut: the dense model, or, where the method trains the weights along with
    its switches, the model with these weights.
    """

    captured: Captured
    analysis: Analysis
    scores: Scores


def rank(task: Task, method: str, seed: int, epochs: int = 1) -> Ranked:
    """Score all channels of ``task.model`` on ``task.train``.

    Args:
        task: model, data and batch size; the images are not augmented.
        method: as ``method_and_learning`` reads it.
        seed: of the order of the data and of all that is random in the method.
        epochs: passes over the data of switches, unless ``method`` says how many.
    """
    made, learning = method_and_learning(method)
    captured = capture(task.model, (task.example,))
    analysis = analyse(captured.module)
    data = loader(task.train, task.batch_size, shuffle=True, seed=seed)
    learn = LearnConfig(**{"epochs": epochs, **AS_IN_PAPERS, **learning, "seed": seed})
    scores = score_channels(captured, analysis, made, data, learn=learn)
    return Ranked(*(scores.trained or (captured, analysis)), scores)


def plan_at_widths(ranked: Ranked, widths: Sequence[int]) -> Plan:
    """The plan that keeps the ``widths[i]`` most important channels of the i-th group.

    Raises:
        ValueError: there are not as many widths as groups, or not as many channels as asked for,
            or a group's channels do not go one by one.
    """
    groups = ranked.analysis.groups
    if len(widths) != len(groups):
        raise ValueError(f"{len(widths)} widths for {len(groups)} groups; give one for each")
    classes = np.ones(ranked.analysis.classes, dtype=bool)
    for group, width in zip(groups, widths, strict=True):
        if not 1 <= width <= group.size or group.in_step:
            raise ValueError(f"{group.name} of {group.size} cannot be cut to {width} channels")
        least_first = ranked.scores.by_group[group.name].argsort(stable=True).cpu().numpy()
        classes[group.channels[least_first[: group.size - width]]] = False
    target = "widths=" + "-".join(map(str, widths))
    return plan_from_classes(ranked.analysis, classes, target=target, method=ranked.scores.method)


def plan_for(ranked: Ranked, target: str, ranking: str = "local") -> Plan:
    """The plan for ``target``: ``widths=4-7-38``, or a budget such as ``macs=0.05``."""
    kind, _, value = target.partition("=")
    if kind == "widths":
        return plan_at_widths(ranked, [int(width) for width in value.split("-")])
    return choose(
        ranked.analysis,
        ranked.scores.by_group,
        target,
        ranking=ranking,
        method=ranked.scores.method,
    ).plan


def small_model(ranked: Ranked, plan: Plan, seed: int = 0) -> nn.Module:
    """The small model, proved equal to the masked one that it was cut from.

    Raises:
        CertificateError: it is not.
    """
    small = cut(ranked.captured, ranked.analysis, plan)
    prove(small, ranked.analysis, plan, seed)
    return small.module
