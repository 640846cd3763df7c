"""Shrinking the parts one after the other, and putting each back where it is proved to fit."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

from torch import nn

from graphprune.choosing.budget import Choice
from graphprune.choosing.plan import Plan
from graphprune.clock import Clock
from graphprune.errors import GraphpruneError
from graphprune.graph.trees import Inputs
from graphprune.importance.scoring import Scores
from graphprune.io.text import one_line, reason
from graphprune.partial.asked import Request
from graphprune.partial.observe import run
from graphprune.partial.parts import Part
from graphprune.partial.prove import certify_class
from graphprune.partial.putback import put_back
from graphprune.partial.reference import PartReference
from graphprune.partial.result import Placed
from graphprune.passes.base import run_passes
from graphprune.passes.shrink import Shrink
from graphprune.proof.certify import certify_cut


@dataclass
class Built:
    """The model while parts are put back, one after the other.

    Attributes:
        model: in evaluation mode, with the parts placed so far.
        inputs: that it is called with.
        request: what is asked.
        placed, references: the parts that are in place, and their masked originals.
        refused: why the others are left alone.
    """

    model: nn.Module
    inputs: Inputs
    request: Request
    placed: dict[str, Placed] = field(default_factory=dict)
    references: dict[str, PartReference] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def place(built: Built, part: Part, plan: Plan, scores: Scores) -> None:
    """Shrink one part and put it back, if everything holds; else note why and leave it alone."""
    from graphprune.compressed import Compressed, Stages  # which imports this package

    request = built.request
    seed, clock, dense = request.config.learn.seed, Clock(None), part.graphs[0]
    candidate = copy.deepcopy(built.model)
    try:
        reference = PartReference(part, plan)
        with clock.stage("shrink"):
            small = copy.deepcopy(dense.module)
            run_passes(small, [Shrink(analysis=part.analyses[0], plan=plan)])
            captured = replace(dense, module=small)
        with clock.stage("certify"):
            certificate = certify_cut(captured, reference.references[0], seed=seed)
        how, why = put_back(candidate, part, captured)
        module = candidate.get_submodule(part.name)
        limit = certificate.limit
        placed = certify_class(part.name, module, part.graphs, reference, limit=limit, seed=seed)
        run(candidate, built.inputs, seed)
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
    built.model = candidate
    built.references[part.name] = reference
    built.placed[part.name] = Placed(
        Compressed(small, plan, certificate, stages),
        how,
        why,
        part.calls.count,
        len(part.graphs),
        max(certificate.shrink_error or 0.0, placed),
    )
