"""Search: many ways to share one budget among the channel groups, and the best of them kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import nn

from graphprune.choosing.target import Target, parse_target
from graphprune.compressed import CompressConfig, Compressed
from graphprune.errors import DataError, TargetError, UsageError
from graphprune.exporters.trials import TrialRow
from graphprune.importance.methods import Method, resolve_method
from graphprune.io import Loss
from graphprune.numbers_given import check_counts
from graphprune.partial.asked import whole_graph_for
from graphprune.preconditions import check_asked
from graphprune.run import Run, begin
from graphprune.searching.allocate import Allocator
from graphprune.searching.trials import Contender, Trial, TrialConfig, Trials
from graphprune.training.evaluate import loss_of
from graphprune.training.gradients import learning

SHOWN = 5
"""Allocations that the report shows, besides the plain one that `compress` would have taken."""


_FLATTERED = (
    "{tried} allocations were tried and the best on the held-out data was kept, so its figures "
    "there flatter it; test on data of your own"
)


@dataclass(frozen=True)
class SearchConfig:
    """How a search goes.

    Attributes:
        trials: different allocations to judge.
        examples: held-out examples that each is judged on; the best few are then judged on all.
        compress: everything that a search has in common with :func:`graphprune.compress`; its
            ``ranking`` plays no part, for the search tries all of them, and with ``recalibrate``
            batch-norm statistics are re-estimated before each judgement too.
    """

    trials: int = 64
    examples: int = 2000
    compress: CompressConfig = field(default_factory=CompressConfig)

    def __post_init__(self) -> None:
        check_counts(self, "trials", "examples")


@learning()
def search(  # noqa: PLR0913 - the arguments of compress, which users know
    model: nn.Module | torch.export.ExportedProgram,
    example_inputs: Any,
    *,
    target: str | Target = "macs=0.5",
    method: str | Method | Sequence[str | Method] = "auto",
    data: Any = None,
    loss: Loss | None = None,
    finetune_epochs: int = 0,
    config: SearchConfig | None = None,
) -> Compressed:
    """Compress a model by the best of many allocations of one budget.

    Channels are ranked once by each method. Then allocations are tried: every ranking as it is,
    tilted by depth and by size, at random, and variations of the best so far (Adamczewski & Park,
    Dirichlet Pruning, section 4.2.2, searches sub-architectures too, but in a fixed pool). Each
    meets the budget and is judged on held-out data without fine-tuning; the best is proved, trained
    and judged as by :func:`graphprune.compress`.

    Args:
        model: any module or exported program that torch.export captures whole; it is not changed.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.
        target: fraction that stays: ``macs=0.5``, ``params=0.3``, or ``channels=0.5``, which here
            counts the channels of all groups together.
        method: one or several; the best allocation of any of them wins.
        data: as :func:`graphprune.compress` takes it; needed here.
        loss: ``loss(output, target)``, where without labels the target is the original's output;
            default cross-entropy, and without labels the distance to the original's outputs.
        finetune_epochs: epochs of training of the model found.
        config: see :class:`SearchConfig`.

    Raises:
        ModelError: the model cannot be captured whole.
        DataError: there are no data, or they do not fit the model.
        TargetError: the target is malformed or cannot be reached.
        CertificateError: the small model is not proved equal to the masked original.
        TrainingError: a loss became NaN or infinite.
    """
    config = config or SearchConfig()
    wanted = budget_of(target)
    if data is None:
        raise DataError("a search judges allocations on held-out data; give --data (data=)")
    methods = _methods(method)
    check_asked(finetune_epochs, data, loss, reconstruct=config.compress.reconstruct)
    with whole_graph_for("a search"):
        run = begin(model, example_inputs, data, loss, config.compress)
    contenders = _contenders(run, methods, wanted)
    judged = TrialConfig(config.trials, config.examples, config.compress.recalibrate)
    with run.clock.stage("search"):
        trials = Trials(run, contenders, wanted, judged)
        trials.run()
        ordered = trials.best_first()
    best = ordered[0]
    notes = (_FLATTERED.format(tried=len(ordered)),) if len(ordered) > 1 else ()
    result = run.finish(
        best.contender.whole, best.contender.scores, best.choice, finetune_epochs, notes
    )
    rows = _rows(ordered)
    return replace(result, stages=replace(result.stages, trials=rows))


def budget_of(target: str | Target) -> Target:
    """The budget that the target names.

    Raises:
        TargetError: it is malformed, or ``auto``, which leaves nothing to share.
    """
    wanted = parse_target(target)
    if not isinstance(wanted, Target):
        raise TargetError("a search shares a budget, and target auto has none; use macs=0.5")
    return wanted


def _methods(method: str | Method | Sequence[str | Method]) -> list[Method]:
    """The methods meant, each once.

    Raises:
        UsageError: there are none, or one is not known.
    """
    given = list(method) if isinstance(method, list | tuple) else [cast("str | Method", method)]
    found: list[Method] = []
    for one in given:
        resolved = resolve_method(one, True)[0]
        if resolved not in found:
            found.append(resolved)
    if not found:
        raise UsageError("no method is given to rank channels by; leave it out for auto")
    return found


def _contenders(run: Run, methods: Sequence[Method], target: Target) -> list[Contender]:
    analysis = run.analyse()
    found = []
    for method in methods:
        scores = run.score(analysis, method)
        whole = scores.trained or (run.dense, analysis)
        allocator = Allocator(
            whole[1],
            scores.by_group,
            target,
            thinning=run.config.thinning,
            method=scores.method,
            original=analysis if scores.trained else None,
        )
        found.append(Contender(whole, scores, allocator))
    return found


def _rows(ordered: Sequence[Trial]) -> tuple[TrialRow, ...]:
    """The best few, and the plain allocation of the first method wherever it came out."""
    shown = list(ordered[:SHOWN])
    shown += [trial for trial in ordered[SHOWN:] if trial.plain]
    places = {id(trial): place for place, trial in enumerate(ordered, 1)}
    return tuple(
        TrialRow(
            place=places[id(trial)],
            method=trial.contender.scores.method,
            allocation=trial.share.name,
            widths=tuple(after for _, after in trial.choice.plan.widths.values()),
            reached=trial.choice.reached,
            accuracy=trial.figures.get("accuracy"),
            loss=loss_of(trial.figures),
        )
        for trial in shown
    )
