"""The road for models that torch.export cannot capture whole: find parts, shrink, put back."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graphprune.capture import normalise_inputs
from graphprune.certify import (
    Certificate,
    certify_shrink,
    check_inputs,
    describe_inputs,
    model_limit,
)
from graphprune.clock import Clock
from graphprune.errors import GraphpruneError, ModelError, UsageError
from graphprune.io.text import few, one_line, reason
from graphprune.measure import count_parameters
from graphprune.partial.observe import run
from graphprune.partial.parts import Found, Part, find_parts
from graphprune.partial.prove import certify_class, certify_whole
from graphprune.partial.putback import put_back
from graphprune.partial.reference import PartReference
from graphprune.partial.result import Background, PartialCompressed, Placed
from graphprune.partial.share import Whole, share_out
from graphprune.passes.base import run_passes
from graphprune.passes.shrink import Shrink
from graphprune.plan import Plan
from graphprune.scoring import LEARNED, Scores, resolve_method, score_channels
from graphprune.target import Target
from graphprune.trees import Inputs

if TYPE_CHECKING:
    from graphprune.compress import CompressConfig


@dataclass(frozen=True)
class Request:
    """What was asked of :func:`graphprune.compress.compress`.

    Attributes:
        target: what fraction of the model stays.
        method: as given, ``auto`` included.
        has_data: whether data were given.
        finetune_epochs: epochs asked for.
        config: the rest.
    """

    target: Target
    method: str
    has_data: bool
    finetune_epochs: int
    config: CompressConfig


@dataclass
class _Built:
    """The model while parts are put back, one after the other."""

    model: nn.Module
    placed: dict[str, Placed] = field(default_factory=dict)
    references: dict[str, PartReference] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


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
    method, notes = _allowed(request, failure)
    config = request.config
    inputs, seed, clock = (
        normalise_inputs(example_inputs),
        config.learn.seed,
        Clock(config.progress),
    )
    original = _copy(model, failure)
    with clock.stage("run"):
        dense_macs = _macs(original, inputs, seed, failure)
    with clock.stage("find parts"):
        found = find_parts(original, inputs, seed)
    if not found.parts:
        raise _nothing(model, found, failure)
    with clock.stage("score"):
        scores = {
            part.name: score_channels(
                part.graphs[0], part.analyses[0], method, None, learn=config.learn
            )
            for part in found.parts
        }
    with clock.stage("plan"):
        shares = share_out(
            found.parts,
            {name: one.by_group for name, one in scores.items()},
            request.target,
            _whole(original, found, request.target, dense_macs),
            method,
        )
        notes += [shares.note] if shares.note else []
    with clock.stage("shrink and certify parts"):
        built = _Built(copy.deepcopy(original))
        for part in found.parts:
            _place(built, part, shares.plans[part.name], scores[part.name], (inputs, request))
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
    errors = [placed.error for placed in built.placed.values()]
    certificate = Certificate(
        limit,
        f"for each part {describe_inputs(seed)}; {proof.runs} calls of the whole model",
        shrink_error=max([*errors, proof.part_error, proof.outside_error]),
    )
    background = Background(
        config.source or type(model).__name__,
        explain(failure),
        str(request.target),
        method,
        (dense_macs, _macs(built.model, inputs, seed, failure)),
        count_parameters(model),
        _left(model, {**found.left, **built.refused}),
        clock,
        tuple(notes),
    )
    return PartialCompressed(built.model, built.placed, certificate, proof, background)


def _allowed(request: Request, failure: ModelError) -> tuple[str, list[str]]:
    """The method to use, with notes; refuses what a model in parts cannot have."""
    config, why = request.config, f"the model cannot be captured whole ({explain(failure)})"
    if request.method == LEARNED:
        raise UsageError(f"method dirichlet needs the whole model as a graph; use l2: {why}")
    if request.finetune_epochs or (request.has_data and config.recalibrate):
        raise UsageError(
            "fine-tuning and --recalibrate need the whole model as a graph; compress without them "
            f"and train the result yourself: {why}"
        )
    if config.passes:
        raise UsageError(f"graph passes need the whole model as a graph; leave them out: {why}")
    if config.ranking != "local":
        raise UsageError(
            f"ranking {config.ranking} compares groups across the whole graph; use local: {why}"
        )
    method, _ = resolve_method(request.method, False)
    notes = [f"captured in parts: {why}"]
    if request.has_data:
        notes.append("the data are not used: learning switches needs the whole model as a graph")
    if request.method == "auto":
        notes.append("channels were ranked by the L2 norm of their weights")
    return method, notes


def _place(
    built: _Built, part: Part, plan: Plan, scores: Scores, asked: tuple[Inputs, Request]
) -> None:
    """Shrink one part and put it back, if everything holds; else note why and leave it alone."""
    from graphprune.budget import Choice
    from graphprune.compress import Compressed, Stages

    inputs, request = asked
    seed, clock, dense = request.config.learn.seed, Clock(None), part.graphs[0]
    candidate = copy.deepcopy(built.model)
    try:
        reference = PartReference(part, plan)
        with clock.stage("shrink"):
            small = copy.deepcopy(dense.module)
            run_passes(small, [Shrink(analysis=part.analyses[0], plan=plan)])
            captured = replace(dense, module=small)
        with clock.stage("certify"):
            limit = model_limit(captured)
            error = certify_shrink(
                small, reference.references[0], check_inputs(captured, seed), limit=limit
            )
        how, why = put_back(candidate, part, captured)
        module = candidate.get_submodule(part.name)
        placed = certify_class(part.name, module, part.graphs, reference, limit=limit, seed=seed)
        run(candidate, inputs, seed)
    except GraphpruneError as failed:
        built.refused[part.name] = one_line(failed, 400)
        return
    except Exception as failed:  # noqa: BLE001 - the model's own code, on sizes it may not expect
        built.refused[part.name] = f"the model fails with the part pruned: {reason(failed)}"
        return
    stages = Stages(
        f"{request.config.source} {part.name}".strip(),
        dense,
        captured,
        part.analyses[0],
        scores,
        Choice(plan, 0.0, ""),
        None,
        {},
        None,
        None,
        clock,
        (f"a part of a model that cannot be captured whole; put back as a {how}",),
    )
    certificate = Certificate(limit, describe_inputs(seed), shrink_error=error)
    built.model = candidate
    built.references[part.name] = reference
    built.placed[part.name] = Placed(
        Compressed(small, plan, certificate, stages),
        how,
        why,
        part.calls.count,
        len(part.graphs),
        max(error, placed),
    )


def explain(failure: BaseException) -> str:
    """What torch.export said, and the line of the user's model where it stopped."""
    cause = failure.__cause__ or failure
    text = one_line(str(cause).strip().splitlines()[0] if str(cause).strip() else repr(cause))
    frames = [
        frame
        for frame in traceback.extract_tb(cause.__traceback__)
        if not any(f"/{own}/" in frame.filename.replace("\\", "/") for own in _NOT_THE_USERS)
    ]
    if not frames:
        return text
    last = frames[-1]
    return f"{text} at {last.filename}:{last.lineno}: {one_line(last.line or '', 100)}"


_NOT_THE_USERS = ("torch", "graphprune")


def _copy(model: nn.Module, failure: ModelError) -> nn.Module:
    try:
        return copy.deepcopy(model).eval()
    except Exception as error:
        raise ModelError(
            f"{failure}; its parts cannot be tried either, for it cannot be copied: {reason(error)}"
        ) from error


def _macs(model: nn.Module, inputs: Inputs, seed: int, failure: ModelError) -> int:
    """MACs of one call, which shows too that the model runs at all."""
    try:
        counter = FlopCounterMode(display=False)
        with sdpa_kernel(SDPBackend.MATH):
            run(model, inputs, seed, counter)
    except Exception:  # noqa: BLE001 - then the inputs are at fault, as the first error says
        raise failure from failure.__cause__
    return int(counter.get_total_flops()) // 2


def _whole(model: nn.Module, found: Found, target: Target, macs: int) -> Whole:
    if target.kind == "macs":
        return Whole(max(1, macs), {part.name: part.calls.flops / 2 for part in found.parts})
    sizes: Mapping[str, float] = {
        part.name: float(_read(part, torch.nn.Parameter)) for part in found.parts
    }
    return Whole(float(max(1, count_parameters(model))), sizes)


def _read(part: Part, kind: type) -> int:
    """Values in the parameters that a part's graph reads, which are those that can shrink."""
    module = part.graphs[0].module
    read = {str(node.target) for node in module.graph.find_nodes(op="get_attr")}
    found = {id(t): t for name, t in module.named_parameters() if name in read}
    return sum(t.numel() for t in found.values() if isinstance(t, kind))


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
