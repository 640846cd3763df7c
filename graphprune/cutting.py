"""A captured model cut to a plan, and the proof that the cut was right."""

from __future__ import annotations

import copy
from dataclasses import replace

from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.choosing.plan import Plan
from graphprune.passes.base import run_passes
from graphprune.passes.drop_unread import DropUnread
from graphprune.passes.shrink import Shrink
from graphprune.proof.certify import Certificate, certify_cut
from graphprune.proof.masked import MaskedReference
from graphprune.shrinking.embed import embed


def cut(whole: Captured, analysis: Analysis, plan: Plan) -> Captured:
    """The small model that the plan leaves, without parameters that evaluation never reads.

    Args:
        whole: the captured model; it stays as it is.
        analysis: of ``whole.module``.
        plan: made for it.

    Raises:
        PlanError: the plan was made for another model.
    """
    small = copy.deepcopy(whole.module)
    run_passes(small, [Shrink(analysis=analysis, plan=plan), DropUnread()])
    return replace(whole, module=small)


def prove(
    small: Captured, analysis: Analysis, plan: Plan, seed: int, *, trained: bool = False
) -> Certificate:
    """Prove that the small model equals the masked original.

    Freshly cut it must equal the original with the original's own weights, which shows that the
    right ones were kept. Once trained, it must equal the original with the trained ones put in.

    Args:
        small: what :func:`cut` made.
        analysis: of the whole graph.
        plan: that was carried out.
        seed: of the inputs that are not the user's examples.
        trained: whether its weights are others by now.

    Raises:
        CertificateError: it does not.
    """
    keep = plan.keep(analysis)
    weights = embed(small.module, analysis, keep) if trained else None
    reference = MaskedReference(analysis, keep, weights)
    return certify_cut(small, reference, seed=seed)
