"""The report of a compression, drawn from its stages."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from graphprune.analysis.groups import Analysis
from graphprune.analysis.held import held_back
from graphprune.capturing.capture import Captured
from graphprune.delivery.measure import count_parameters, macs_per_example
from graphprune.exporters.report import GroupRow, Measured, PinRow, Report, versions
from graphprune.importance.credibility import indistinct, separated
from graphprune.training.evaluate import loss_of

if TYPE_CHECKING:
    from graphprune.compressed import Compressed


def make_report(result: Compressed) -> Report:
    """Everything known before export; :mod:`graphprune.delivery.deliver` adds what it measures."""
    stages = result.stages
    models, batch = {}, 1
    for name, captured in (("dense", stages.dense), ("pruned", stages.small)):
        macs, batch = macs_per_example(captured)
        models[name] = measured(captured, macs, stages.evaluations.get(name, {}))
    dense, pruned = models["dense"], models["pruned"]
    reached = {"channels": _channels(result)}
    if dense.parameters and pruned.parameters is not None:
        reached["params"] = pruned.parameters / dense.parameters
    if dense.macs and pruned.macs is not None:
        reached["macs"] = pruned.macs / dense.macs
    groups = _group_rows(result)
    doubt = indistinct({group.name: group.separated for group in groups}, stages.scores.steps)
    return Report(
        source=stages.source,
        method=stages.scores.method,
        target=result.plan.target,
        reached=reached,
        models=models,
        macs_batch=batch,
        groups=groups,
        pinned=_pinned(stages.analysis),
        certificate=result.certificate,
        seconds={name: round(value, 3) for name, value in stages.seconds.items()},
        versions=versions(),
        notes=(*stages.notes, *([doubt] if doubt else [])),
        trials=stages.trials,
        certainty=stages.scores.certainty,
    )


def _group_rows(result: Compressed) -> tuple[GroupRow, ...]:
    stages, widths = result.stages, result.plan.widths
    intervals, below = stages.scores.intervals, stages.choice.below
    stays = result.plan.classes(stages.analysis)
    rows = []
    for group in stages.analysis.groups:
        members = tuple(f"{member.parameter}[{member.dim}]" for member in group.members)
        importance = tuple(stages.scores.by_group[group.name].tolist())
        kept = tuple(np.flatnonzero(stays[group.channels]).tolist())
        row = GroupRow(group.name, *widths[group.name], members, importance, kept=kept)
        if group.name in intervals:
            bounds = intervals[group.name]
            row = dataclasses.replace(
                row,
                intervals=tuple((low, high) for low, high in bounds.T.tolist()),
                separated=separated(bounds, stays[group.channels][: bounds.shape[1]]),
            )
        if group.name in below:
            row = dataclasses.replace(row, below=tuple(below[group.name].tolist()))
        rows.append(row)
    return tuple(rows)


def _pinned(analysis: Analysis) -> tuple[PinRow, ...]:
    """What stays, with the call that holds it, those first whose call holds most parameters."""
    calls = {(held.node, held.reason): held for held in held_back(analysis)}
    rows = []
    for pin in analysis.pinned:
        held = calls[pin.node, pin.reason]
        place = (pin.parameter, pin.dim, pin.channels)
        rows.append(PinRow(*place, pin.reason, held.source, held.op, held.params))
    return tuple(sorted(rows, key=lambda row: -row.params))


def measured(captured: Captured, macs: int | None, figures: dict[str, float]) -> Measured:
    """A table row of a captured model; ``figures`` are those of ``training.evaluate``."""
    return Measured(
        parameters=count_parameters(captured.module),
        macs=macs,
        accuracy=figures.get("accuracy"),
        loss=loss_of(figures),
    )


def _channels(result: Compressed) -> float:
    pairs = result.plan.widths.values()
    before = sum(pair[0] for pair in pairs)
    return sum(pair[1] for pair in pairs) / before if before else 1.0
