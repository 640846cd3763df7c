"""The main job: capture, analyse, score, plan, shrink, certify, fine-tune."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from graphprune.choosing.target import AutoTarget, Target, parse_target
from graphprune.compressed import CompressConfig, Compressed
from graphprune.errors import ModelError
from graphprune.importance.methods import Method, resolve_method
from graphprune.importance.spread import check_auto
from graphprune.io import Loss
from graphprune.partial.asked import Request, fraction_of, whole_or_parts
from graphprune.partial.compress import compress_parts
from graphprune.partial.result import PartialCompressed
from graphprune.preconditions import check_asked
from graphprune.run import begin
from graphprune.training.gradients import learning


@learning()
def compress(  # noqa: PLR0913 - the one call that users type; the rest is in the config
    model: nn.Module | torch.export.ExportedProgram,
    example_inputs: Any,
    *,
    target: str | Target | AutoTarget = "channels=0.5",
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
        target: fraction that stays, ``channels=0.5``, ``params=0.3`` or ``macs=0.4``; or ``auto``:
            what switches learn to be unimportant goes, see :mod:`graphprune.choosing.cutoff`.
        method: kinds of switches such as ``dirichlet`` learn from data (Adamczewski & Park,
            Dirichlet Pruning, algorithm 1); criteria such as ``l2`` score without training;
            ``auto`` is dirichlet where there are data, else l2. A name, with options as in
            ``dirichlet{variant=implicit}``, or the object itself.
        data: anything :func:`graphprune.io.as_data` takes: a DataLoader, (x, y), x, ….
        loss: ``loss(output, target)``, where without labels the target is the original's output;
            default cross-entropy, and without labels the distance to the original's outputs.
        finetune_epochs: epochs of training of the small model.
        config: see :class:`CompressConfig`.

    Raises:
        ModelError: the model cannot be captured.
        DataError: the data do not fit the model.
        TargetError: the target is malformed or cannot be reached.
        CertificateError: the small model is not proved equal to the masked original.
        TrainingError: a loss became NaN or infinite.
    """
    config = (config or CompressConfig()).seeded()
    target = parse_target(target)
    ranked_by, method_note = resolve_method(method, data is not None)
    check_asked(finetune_epochs, data, loss, reconstruct=config.reconstruct)
    if isinstance(target, AutoTarget):
        check_auto(ranked_by, config.ranking)
        config = replace(config, learn=replace(config.learn, spread=True))

    def parts(module: nn.Module, failure: ModelError) -> PartialCompressed:
        fraction = fraction_of(target, failure)
        request = Request(fraction, method, data is not None, finetune_epochs, config)
        return compress_parts(module, example_inputs, request, failure)

    run = whole_or_parts(model, lambda: begin(model, example_inputs, data, loss, config), parts)
    if isinstance(run, PartialCompressed):
        return run
    analysis = run.analyse()
    scores = run.score(analysis, ranked_by)
    whole = scores.trained or (run.dense, analysis)  # what the switches were learned with
    with run.clock.stage("plan"):
        choice = run.decide(analysis, scores, target)
    notes = (method_note,) if method_note else ()
    return run.finish(whole, scores, choice, finetune_epochs, notes)
