"""A model on its way: captured, analysed and ranked once, then cut, proved, trained and judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.capturing.fast_paths import AS_IN_TRAINING
from graphprune.choosing.budget import Choice
from graphprune.choosing.cutoff import decide
from graphprune.choosing.target import AutoTarget, Target
from graphprune.clock import Clock
from graphprune.compressed import CompressConfig, Compressed, Stages
from graphprune.cutting import cut, fits_one_batch, prove
from graphprune.delivery.damage import damage
from graphprune.delivery.measure import count_unread
from graphprune.exporters.onnx_ops import require_onnx
from graphprune.graph.input_sizes import further_free_sizes
from graphprune.importance.methods import Method
from graphprune.importance.scoring import Scores, ranking_batches, score_channels
from graphprune.io import Loss
from graphprune.io.text import few
from graphprune.passes.base import run_passes
from graphprune.passes.drop_unread import unread_parameters
from graphprune.preconditions import check_values
from graphprune.proof.fresh_inputs import fixed_batch
from graphprune.shrinking.rewrite import retrace_shapes
from graphprune.training.evaluate import evaluate, require_finite
from graphprune.training.feed import Feed, feed_for, prepared
from graphprune.training.recalibrate import recalibrate_batchnorm
from graphprune.training.reconstruct import reconstruct, require_stateless
from graphprune.training.tuning import tune
from graphprune.training.userloss import checked_loss

_EXAMPLES_SIZES = (
    "the model is captured for inputs of the examples' sizes only: it was exported so, or its "
    "forward fixes the batch size or does something else at others"
)

_ONE_BATCH = (
    "the small model takes batches of the examples' size only: where the model lays channels and "
    "examples into one dimension, the numbers of its graph are those of that batch"
)


@dataclass(frozen=True)
class Run:
    """A model on its way through the stages: captured, with its data.

    Attributes:
        dense: the captured original.
        feed: the data, None without them.
        loss: the user's, checked.
        config: of the compression, its seed handed on to the stages.
        clock: times the stages.
        source: where the model came from.
    """

    dense: Captured
    feed: Feed | None
    loss: Loss | None
    config: CompressConfig
    clock: Clock
    source: str

    def analyse(self) -> Analysis:
        """The channel groups.

        Raises:
            ModelError: an operator has no form in ONNX, where ONNX is asked for.
        """
        if self.config.needs_onnx:
            require_onnx(self.dense.module)
        with self.clock.stage("analyse"):
            return analyse(self.dense.module)

    def judge(self, module: nn.Module, feed: Feed) -> dict[str, float]:
        """Figures of a model on held-out data, as :func:`evaluate` gives them."""
        return evaluate(module, feed.held_out(), loss=self.loss, teacher=self.dense.module)

    @cached_property
    def dense_figures(self) -> dict[str, float]:
        """Figures of the original on the held-out data; without data none."""
        if self.feed is None:
            return {}
        with self.clock.stage("evaluate"):
            return self.judge(self.dense.module, self.feed)

    def score(self, analysis: Analysis, method: Method, *, intervals: bool = True) -> Scores:
        """Importance of every channel by a method, for a report with ``intervals``.

        Raises:
            TrainingError: the original's own loss is not finite, found before anything is learned.
        """
        learn = self.config.learn
        if self.config.evaluate:
            require_finite(self.dense_figures)
        with self.clock.stage("score"):
            return score_channels(
                self.dense,
                analysis,
                method,
                ranking_batches(self.feed, method, learn) if self.feed else None,
                learn=learn,
                loss=self.loss,
                progress=self.config.progress,
                intervals=intervals,
            )

    def decide(self, analysis: Analysis, scores: Scores, target: Target | AutoTarget) -> Choice:
        """What to keep; fractions are of the user's model, also where weights were trained along.

        Raises:
            TargetError: nothing can be removed, or the target cannot be reached.
        """
        return decide(
            scores.trained[1] if scores.trained else analysis,
            scores,
            target,
            ranking=self.config.ranking,
            thinning=self.config.thinning,
            original=analysis if scores.trained else None,
        )

    def finish(
        self,
        whole: tuple[Captured, Analysis],
        scores: Scores,
        choice: Choice,
        epochs: int,
        notes: tuple[str, ...] = (),
    ) -> Compressed:
        """Cut, prove, train on and judge.

        Args:
            whole: what is cut, and its analysis.
            scores: that the choice was made by.
            choice: what stays.
            epochs: of fine-tuning.
            notes: lines for the user.

        Raises:
            CertificateError: the small model is not proved equal to the masked original.
            TrainingError: a loss became NaN or infinite.
        """
        config, feed, clock, seed = self.config, self.feed, self.clock, self.config.learn.seed
        analysis, plan = whole[1], choice.plan
        with clock.stage("shrink"):
            small = cut(*whole, plan)
        with clock.stage("certify"):
            certificate = prove(small, analysis, plan, seed)
            if fits_one_batch(small, analysis, plan):
                small = fixed_batch(small)
                feed = feed_for(small, feed.bundle, feed.batch_size) if feed is not None else None
                notes = (*notes, _ONE_BATCH)
        finetuned = None
        if feed is not None and config.reconstruct:
            with clock.stage("reconstruct"):
                batches = feed.training(seed)
                found = reconstruct(small, analysis, plan, batches, progress=config.progress)
            notes = (*notes, found.describe())
        if feed is not None and config.recalibrate:
            with clock.stage("recalibrate"):
                recalibrate_batchnorm(small.module, feed.training(seed))
        if feed is not None and epochs:
            with clock.stage("finetune"):
                finetuned = tune(small, self.dense, feed, self.loss, epochs, config)
        changes = config.reconstruct or config.recalibrate or finetuned is not None
        if feed is not None and changes:
            with clock.stage("certify again"):
                certificate = prove(small, analysis, plan, seed, trained=True)
        evaluations: dict[str, dict[str, float]] = {}
        if feed is not None and config.evaluate:
            if feed is self.feed:
                evaluations["dense"] = self.dense_figures
            with clock.stage("evaluate"):
                if feed is not self.feed:  # whose last, smaller batch is left out
                    evaluations["dense"] = self.judge(self.dense.module, feed)
                evaluations["pruned"] = self.judge(small.module, feed)
        stages = Stages(
            self.source,
            self.dense,
            small,
            analysis,
            scores,
            choice,
            finetuned,
            evaluations,
            feed.held_out() if feed is not None and config.evaluate else None,
            self.loss,
            clock,
            (*notes, *scores.notes, *_notes(choice, whole[0]), *damage(evaluations, changes)),
        )
        return Compressed(small.module, plan, certificate, stages)


def begin(
    model: nn.Module | torch.export.ExportedProgram,
    example_inputs: Any,
    data: Any,
    loss: Loss | None,
    config: CompressConfig,
) -> Run:
    """Capture a model and prepare its data; the arguments are those of
    :func:`graphprune.compress.compress`.

    Raises:
        ModelError: the model cannot be captured whole.
        DataError: the data do not fit the model.
    """
    config = config.seeded()
    loss = checked_loss(loss) if loss is not None else None
    clock = Clock(config.progress)
    with clock.stage("capture"):
        dense = _capture(model, example_inputs, config)
        if data is not None and config.reconstruct:
            require_stateless(dense.module)
        feed = prepared(data, dense, config.batch_size, loss) if data is not None else None
    return Run(dense, feed, loss, config, clock, config.source or type(model).__name__)


def _notes(choice: Choice, whole: Captured) -> list[str]:
    notes = [choice.note] if choice.note else []
    if whole.was_training:
        notes.append(
            "MODEL was exported in training mode; it was compressed and is written in evaluation "
            "mode (batch norm with its stored statistics, no dropout)"
        )
    if whole.as_in_training:
        notes.append(AS_IN_TRAINING)
    if not whole.dynamic_batch:
        notes.append(_EXAMPLES_SIZES)
    further = further_free_sizes(whole.module)
    if further:
        notes.append(
            f"files that are written take inputs of the examples' sizes, in batches of any size; "
            f"MODEL leaves more free ({few(further)}), and so does the model in memory"
        )
    unread = unread_parameters(whole.module)
    if unread:
        notes.append(
            f"left out and not counted, for evaluation never reads them: "
            f"{count_unread(whole.module):,} parameters ({few(unread)})"
        )
    if whole.left_out:
        notes.append(
            f"left out of the outputs: {few(whole.left_out)}, which the model could take back in, "
            "but is not among the example inputs"
        )
    return notes


def _capture(model: Any, example_inputs: Any, config: CompressConfig) -> Captured:
    dense = capture(model, example_inputs)
    check_values(dense.module)
    if config.passes:
        module = run_passes(dense.module, config.passes).graph_module
        retrace_shapes(module)
        dense = replace(dense, module=module)
    return dense
