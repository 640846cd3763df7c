"""The main job: capture, analyse, score, plan, shrink, certify, fine-tune."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.fx.passes.infra.pass_base import PassBase

from graphprune.budget import Choice, choose
from graphprune.capture import Captured, capture
from graphprune.certify import (
    Certificate,
    certify_shrink,
    check_inputs,
    describe_inputs,
    model_limit,
)
from graphprune.clock import Clock
from graphprune.deliver import deliver
from graphprune.devices import Batch
from graphprune.embed import embed
from graphprune.errors import ModelError, TrainingError
from graphprune.evaluate import evaluate
from graphprune.exporters.onnx_ops import require_onnx
from graphprune.exporters.report import Report
from graphprune.feed import Feed, prepared
from graphprune.finetune import FinetuneConfig, FinetuneResult, finetune
from graphprune.groups import Analysis, analyse
from graphprune.into.apply import apply
from graphprune.into.state import SavedState
from graphprune.io import Loss
from graphprune.io.tensors import floating_outputs
from graphprune.learn import LearnConfig
from graphprune.masked import MaskedReference
from graphprune.methods import Method, resolve_method
from graphprune.objective import Objective
from graphprune.partial.asked import Request
from graphprune.partial.compress import compress_parts
from graphprune.partial.result import PartialCompressed
from graphprune.passes.base import run_passes
from graphprune.passes.drop_unread import DropUnread, unread_parameters
from graphprune.passes.shrink import Shrink
from graphprune.plan import Plan
from graphprune.preconditions import check_asked, check_values
from graphprune.progress import Progress
from graphprune.recalibrate import recalibrate_batchnorm
from graphprune.reporting import make_report
from graphprune.rewrite import retrace_shapes
from graphprune.scoring import Scores, score_channels
from graphprune.target import Target, parse_target
from graphprune.userloss import checked_loss


@dataclass(frozen=True)
class CompressConfig:
    """Everything about a compression that has a sensible default.

    Attributes:
        learn: how switches are learned.
        finetune: how the small model is trained on; its ``epochs`` is set by ``finetune_epochs``.
        distill: fine-tune towards the original model's outputs too.
        ranking: ``local`` thins all groups alike, ``global`` compares scores between groups,
            ``isomorphic`` between those of one structure.
        heads: what attention heads, key-value groups and conv groups may lose: ``whole`` ones,
            equally many channels ``inside`` each, ``both`` or nothing (``keep``).
        batch_size: examples per step of learning and fine-tuning.
        recalibrate: re-estimate batch-norm statistics of the small model on data; without it (and
            fine-tuning) every value of the small model is one of the original's.
        evaluate: judge dense and small model on held-out data where there are data.
        needs_onnx: refuse a model whose operators cannot be written as ONNX right after its
            capture, rather than when the result is saved.
        passes: extra graph passes, run on the captured graph before it is analysed.
        seed: of everything random; None leaves ``learn`` and ``finetune`` their own seeds.
        progress: called as ``progress(stage, done, total, figures)``.
        source: where the model came from, for the report.
    """

    learn: LearnConfig = field(default_factory=LearnConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    distill: bool = True
    ranking: str = "local"
    heads: str = "both"
    batch_size: int = 64
    recalibrate: bool = False
    evaluate: bool = True
    needs_onnx: bool = False
    passes: tuple[PassBase, ...] = ()
    seed: int | None = None
    progress: Progress | None = None
    source: str = ""


@dataclass(frozen=True)
class Stages:
    """What each stage of a compression handed on, for the report and for whoever wants to look."""

    source: str
    dense: Captured
    small: Captured
    analysis: Analysis
    scores: Scores
    choice: Choice
    finetuned: FinetuneResult | None
    evaluations: dict[str, dict[str, float]]
    held_out: Iterable[Batch] | None
    loss: Loss | None
    clock: Clock
    notes: tuple[str, ...]

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time by stage."""
        return self.clock.seconds


@dataclass(frozen=True)
class Compressed:
    """A compressed model.

    Attributes:
        model: the small model, a GraphModule with the original parameter names.
        plan: what was kept.
        certificate: proof that the small model equals the masked original.
        stages: everything that happened on the way.
    """

    model: nn.Module
    plan: Plan
    certificate: Certificate
    stages: Stages

    @cached_property
    def report(self) -> Report:
        """What was asked and what came of it."""
        return make_report(self)

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        onnx: bool = True,
        latency: bool = True,
    ) -> Path:
        """Export to ``folder``: model.onnx, model.pt2, plan.json, report.json, all certified.

        Args:
            folder: must not exist, or be empty, unless ``overwrite``.
            overwrite: replace an earlier result.
            onnx: write model.onnx; without it, operators need no ONNX translation.
            latency: time the dense and the small model for the report.

        Raises:
            UsageError: the folder is in use.
            ModelError: the model cannot be exported.
            CertificateError: an exported model is not proved equal; nothing is left behind.
        """
        place = Path(folder)
        return deliver(self, place, overwrite=overwrite, onnx=onnx, latency=latency)

    def into(self, model: nn.Module) -> None:
        """Make ``model``, an instance of the class that was compressed, the small model in place.

        See :func:`graphprune.into.apply.apply`.

        Raises:
            UsageError: its tensors are others, or its forward hard-codes a size; it is unchanged.
        """
        apply(model, self.stages.small, self.stages.analysis)


def compress(  # noqa: PLR0913 - the one call that users type; the rest is in the config
    model: nn.Module | torch.export.ExportedProgram,
    example_inputs: Any,
    *,
    target: str | Target = "channels=0.5",
    method: str | Method = "auto",
    data: Any = None,
    loss: Loss | None = None,
    finetune_epochs: int = 0,
    config: CompressConfig | None = None,
) -> Compressed | PartialCompressed:
    """Compress a model and prove the result. The caller's model is never changed.

    A model that torch.export cannot capture whole is compressed in parts, see
    :func:`graphprune.partial.compress.compress_parts`.

    Args:
        model: any module or exported program; it is evaluated in eval mode.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.
        target: fraction that stays: ``channels=0.5``, ``params=0.3`` or ``macs=0.4``.
        method: kinds of switches such as ``dirichlet`` learn from data (Adamczewski & Park,
            Dirichlet Pruning, algorithm 1); criteria such as ``l2`` score without training;
            ``auto`` is dirichlet where there are data, else l2. A name, with options as in
            ``dirichlet{variant=implicit}``, or the object itself.
        data: anything :func:`graphprune.io.as_data` takes: a DataLoader, (x, y), x, ….
        loss: ``loss(output, target)``; default cross-entropy, and without labels the distance to
            the original's outputs.
        finetune_epochs: epochs of training of the small model.
        config: see :class:`CompressConfig`.

    Raises:
        ModelError: the model cannot be captured.
        DataError: the data do not fit the model.
        TargetError: the target is malformed or cannot be reached.
        CertificateError: the small model is not proved equal to the masked original.
        TrainingError: a loss became NaN or infinite.
    """
    config = _seeded(config or CompressConfig())
    seed = config.learn.seed
    target = parse_target(target)
    ranked_by, method_note = resolve_method(method, data is not None)
    check_asked(finetune_epochs, data, loss)
    loss = checked_loss(loss) if loss is not None else None
    clock = Clock(config.progress)
    notes = [method_note] if method_note else []
    before = SavedState.take(model) if isinstance(model, nn.Module) else None
    try:
        with clock.stage("capture"):
            dense = _capture(model, example_inputs, config)
            feed = prepared(data, dense, config.batch_size, loss) if data is not None else None
    except ModelError as failure:
        if failure.__cause__ is None or not isinstance(model, nn.Module) or before is None:
            raise  # nothing that torch.export said of a module
        before.restore()  # what the failed attempt may have left in the module's attributes
        request = Request(target, method, data is not None, finetune_epochs, config)
        return compress_parts(model, example_inputs, request, failure)
    if config.needs_onnx:
        require_onnx(dense.module)
    with clock.stage("analyse"):
        analysis = analyse(dense.module)
    with clock.stage("score"):
        scores = score_channels(
            dense,
            analysis,
            ranked_by,
            feed.training(config.learn.seed) if feed else None,
            learn=config.learn,
            loss=loss,
            progress=config.progress,
        )
        notes.extend(scores.notes)
    whole = dense
    if scores.trained is not None:  # what the switches were learned with is what is cut
        whole, analysis = scores.trained
    with clock.stage("plan"):
        choice = choose(
            analysis,
            scores.by_group,
            target,
            ranking=config.ranking,
            method=scores.method,
            heads=config.heads,
        )
        notes.extend([choice.note] if choice.note else [])
    with clock.stage("shrink"):
        small = copy.deepcopy(whole.module)
        unread = unread_parameters(small)
        run_passes(small, [Shrink(analysis=analysis, plan=choice.plan), DropUnread()])
        captured = replace(whole, module=small)
        if unread:
            notes.append(
                f"left out, for evaluation never reads them: {unread[0]}"
                + (f" and {len(unread) - 1} more parameters" if len(unread) > 1 else "")
            )
    with clock.stage("certify"):
        certificate = _certify(captured, analysis, choice.plan, seed)
    finetuned = None
    if feed is not None and config.recalibrate:
        with clock.stage("recalibrate"):
            recalibrate_batchnorm(small, feed.training(seed))
    if feed is not None and finetune_epochs:
        with clock.stage("finetune"):
            finetuned = _finetune(captured, dense, feed, loss, finetune_epochs, config)
    if finetuned is not None or (feed is not None and config.recalibrate):
        with clock.stage("certify again"):
            certificate = _certify(captured, analysis, choice.plan, seed, trained=True)
    evaluations: dict[str, dict[str, float]] = {}
    if feed is not None and config.evaluate:
        with clock.stage("evaluate"):
            for name, module in (("dense", dense.module), ("pruned", small)):
                evaluations[name] = evaluate(
                    module, feed.held_out(), loss=loss, teacher=dense.module
                )
    stages = Stages(
        config.source or type(model).__name__,
        dense,
        captured,
        analysis,
        scores,
        choice,
        finetuned,
        evaluations,
        feed.held_out() if feed is not None and config.evaluate else None,
        loss,
        clock,
        tuple(notes),
    )
    return Compressed(small, choice.plan, certificate, stages)


def _seeded(config: CompressConfig) -> CompressConfig:
    """The config with its seed, if it has one, handed to the stages that have their own."""
    if config.seed is None:
        return config
    return replace(
        config,
        learn=replace(config.learn, seed=config.seed),
        finetune=replace(config.finetune, seed=config.seed),
    )


def _capture(model: Any, example_inputs: Any, config: CompressConfig) -> Captured:
    dense = capture(model, example_inputs)
    check_values(dense.module)
    if config.passes:
        module = run_passes(dense.module, config.passes).graph_module
        retrace_shapes(module)
        dense = replace(dense, module=module)
    return dense


def _certify(
    captured: Captured, analysis: Analysis, plan: Plan, seed: int, *, trained: bool = False
) -> Certificate:
    """Prove that the small model equals the masked original.

    Freshly cut it must equal the original with the original's own weights, which shows that the
    right ones were kept. Once trained, it must equal the original with the trained ones put in.
    """
    keep = plan.keep(analysis)
    weights = embed(captured.module, analysis, keep) if trained else None
    reference = MaskedReference(analysis, keep, weights)
    limit = model_limit(captured)
    inputs = check_inputs(captured, seed)
    error = certify_shrink(captured.module, reference, inputs, limit=limit)
    return Certificate(limit, describe_inputs(seed), shrink_error=error)


def _finetune(
    small: Captured,
    dense: Captured,
    feed: Feed,
    loss: Loss | None,
    epochs: int,
    config: CompressConfig,
) -> FinetuneResult:
    teacher = dense.module if config.distill or not feed.has_labels else None
    result = finetune(
        small.module,
        feed.training(config.finetune.seed),
        replace(config.finetune, epochs=epochs),
        Objective(loss=loss if feed.has_labels else None, teacher=teacher),
        _judge_by(feed, loss, dense, config),
        config.progress,
    )
    # The last step's loss is that of the weights before it, so it does not show what they became.
    if _answers_finite(dense) and not _answers_finite(small):
        raise TrainingError(
            "finetune: the trained model answers NaN or infinity; lower the learning rate"
        )
    return result


def _answers_finite(captured: Captured) -> bool:
    with torch.no_grad():
        output = captured.module(*captured.args, **captured.kwargs)
    return all(bool(torch.isfinite(tensor).all()) for tensor in floating_outputs(output))


def _judge_by(
    feed: Feed, loss: Loss | None, dense: Captured, config: CompressConfig
) -> Callable[[nn.Module], float] | None:
    """How fine-tuning picks its best epoch: held-out accuracy, else the negative loss."""
    if not config.evaluate:
        return None

    def judge(module: nn.Module) -> float:
        figures = evaluate(module, feed.held_out(), loss=loss, teacher=dense.module)
        if "accuracy" in figures:
            return figures["accuracy"]
        return -figures.get("loss", figures.get("distance", 0.0))

    return judge
