"""What a compression is asked, what its stages hand on, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from torch import nn
from torch.fx.passes.infra.pass_base import PassBase

from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.choosing.budget import Choice
from graphprune.choosing.plan import Plan
from graphprune.choosing.thinning import Thinning
from graphprune.clock import Clock
from graphprune.delivery.deliver import deliver
from graphprune.delivery.measure import count_parameters
from graphprune.delivery.reporting import make_report
from graphprune.exporters.report import Report
from graphprune.exporters.trials import TrialRow
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.scoring import Scores
from graphprune.into.apply import apply
from graphprune.io import Loss
from graphprune.progress import Progress
from graphprune.proof.certify import Certificate
from graphprune.seeds import check_seed
from graphprune.training.devices import Batch
from graphprune.training.finetune import FinetuneConfig, FinetuneResult


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
        round_to: a multiple of this many channels stays of every group and inside every head; what
            has fewer stays whole. None: of 8, at which hardware is often fastest, of fewer where
            that would be more than an eighth of the group; 1 (any width) for target ``auto``.
        batch_size: examples per step of learning and fine-tuning; switches take fewer where data
            are few, see :meth:`LearnConfig.batch_size`.
        recalibrate: re-estimate batch-norm statistics of the small model on data; without it (and
            fine-tuning or reconstruction) every value of the small model is one of the original's.
        reconstruct: fit what is left of each layer to the original's answers on the data, before
            any fine-tuning.
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
    round_to: int | None = None
    batch_size: int = 64
    recalibrate: bool = False
    reconstruct: bool = False
    evaluate: bool = True
    needs_onnx: bool = False
    passes: tuple[PassBase, ...] = ()
    seed: int | None = None
    progress: Progress | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.seed is not None:
            check_seed(self.seed)

    @property
    def thinning(self) -> Thinning:
        """What thinning leaves: ``heads`` and ``round_to``, checked.

        Raises:
            TargetError: there is no such policy, or widths cannot be rounded so.
        """
        return Thinning(self.heads, self.round_to)

    def seeded(self) -> CompressConfig:
        """The config with its seed, if it has one, handed to the stages that have their own."""
        if self.seed is None:
            return self
        return replace(
            self,
            learn=replace(self.learn, seed=self.seed),
            finetune=replace(self.finetune, seed=self.seed),
        )


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
    trials: tuple[TrialRow, ...] = ()

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time by stage."""
        return self.clock.seconds


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        stages = self.stages
        before, after = (count_parameters(c.module) for c in (stages.dense, stages.small))
        return f"<Compressed {stages.source}: {before:,} parameters to {after:,}>"

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
