"""The road for models that torch.export cannot capture whole: find parts, shrink, put back."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from torch import nn

from graphprune.capturing.capture import normalise_inputs
from graphprune.capturing.fast_paths import AS_IN_TRAINING
from graphprune.choosing.budget import choose, first_to_meet
from graphprune.choosing.target import Target
from graphprune.choosing.thinning import Thinning
from graphprune.clock import Clock
from graphprune.delivery.measure import count_parameters
from graphprune.errors import ModelError
from graphprune.exporters.onnx_ops import require_onnx
from graphprune.importance.scoring import score_channels
from graphprune.io.text import few, one_line
from graphprune.partial.asked import Request, allowed, explain
from graphprune.partial.observe import copied, macs_of_a_run
from graphprune.partial.parts import Found, find_parts
from graphprune.partial.place import Built, place
from graphprune.partial.prove import certify_whole
from graphprune.partial.result import Background, PartialCompressed
from graphprune.partial.share import Shares, Whole, share_out
from graphprune.proof.certify import Certificate


def compress_parts(
    model: nn.Module, example_inputs: Any, request: Request, failure: ModelError
) -> PartialCompressed:
    """Compress the largest submodules that can be captured, and put them back.

    Args:
        model: any module; it is never changed.
        example_inputs: as :func:`graphprune.compress.compress` takes them.
        request: what is asked.
        failure: why the whole model cannot be captured.

    Raises:
        UsageError: what is asked for needs the whole model as a graph.
        ModelError: no part can be captured, or none has channels to remove.
        TargetError: the target cannot be reached.
        CertificateError: the pruned model is not proved equal to the original with masked parts.
    """
    method, notes = allowed(request, failure)
    config = request.config
    inputs, seed, clock = (
        normalise_inputs(example_inputs),
        config.learn.seed,
        Clock(config.progress),
    )
    original = copied(model, failure)
    with clock.stage("run"):
        dense_macs = macs_of_a_run(original, inputs, seed, failure)
    with clock.stage("find parts"):
        found = find_parts(original, inputs, seed)
    if not found.parts:
        raise _nothing(model, found, failure)
    if config.needs_onnx:
        for part in found.parts:
            require_onnx(part.graphs[0].module)
    with clock.stage("score"):
        scores = {
            part.name: score_channels(
                part.graphs[0], part.analyses[0], method, None, learn=config.learn
            )
            for part in found.parts
        }
    with clock.stage("plan"):
        whole = _whole(original, found, request.target, dense_macs)
        by_group = {name: one.by_group for name, one in scores.items()}

        def attempt(thinning: Thinning) -> tuple[Shares, float]:
            choosing = partial(choose, method=method.name, thinning=thinning)
            shares = share_out(found.parts, by_group, request.target, whole, choosing)
            return shares, shares.reached

        shares, _ = first_to_meet(request.target, config.thinning, attempt)
        notes += [shares.note] if shares.note else []
    with clock.stage("shrink and certify parts"):
        built = Built(copy.deepcopy(original), inputs, request)
        for part in found.parts:
            place(built, part, shares.plans[part.name], scores[part.name])
    if not built.placed:
        name, why = next(iter(built.refused.items()))
        raise ModelError(
            f"{type(model).__name__} can be captured in parts only, and none of them can be put "
            f"back ({name}: {why}); whole: {explain(failure)}"
        )
    with clock.stage("certify whole"):
        limit = max(placed.compressed.certificate.limit for placed in built.placed.values())
        proof = certify_whole(
            original, built.model, built.references, inputs, limit=limit, seed=seed
        )
    notes += [note for note in (proof.note(limit),) if note]
    notes += [f"{n}: put back as a graph ({p.why})" for n, p in built.placed.items() if p.why]
    if any(p.compressed.stages.dense.as_in_training for p in built.placed.values()):
        notes.append(AS_IN_TRAINING)
    errors = [placed.error for placed in built.placed.values()]
    each = next(iter(built.placed.values())).compressed.certificate.inputs
    certificate = Certificate(
        limit,
        f"for each part {each}; {proof.runs} calls of the whole model",
        shrink_error=max([*errors, proof.part_error, proof.outside_error]),
    )
    background = Background(
        config.source or type(model).__name__,
        explain(failure),
        str(request.target),
        method.name,
        (dense_macs, macs_of_a_run(built.model, inputs, seed, failure)),
        count_parameters(model),
        _left(model, {**found.left, **built.refused}),
        clock,
        tuple(notes),
    )
    return PartialCompressed(built.model, built.placed, certificate, proof, background)


def _whole(model: nn.Module, found: Found, target: Target, macs: int) -> Whole:
    if target.kind == "macs":
        return Whole(max(1, macs), {part.name: part.calls.flops / 2 for part in found.parts})
    # What a part's graph does not read cannot shrink; the user's own module keeps it.
    sizes = {part.name: float(count_parameters(part.graphs[0].module)) for part in found.parts}
    return Whole(float(max(1, count_parameters(model))), sizes)


def _left(model: nn.Module, reasons: dict[str, str]) -> dict[str, tuple[int, str]]:
    return {
        name: (count_parameters(model.get_submodule(name)), why) for name, why in reasons.items()
    }


def _nothing(model: nn.Module, found: Found, failure: ModelError) -> ModelError:
    tried = few(f"{name}: {one_line(why, 100)}" for name, why in found.left.items())
    return ModelError(
        f"torch.export cannot capture {type(model).__name__}: {explain(failure)}; and no submodule "
        f"that it can capture has channels to remove ({tried or 'there is none'})"
    )
