"""A captured model cut to a plan, and the proof that the cut was right."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import replace
from typing import Any

from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.choosing.plan import Plan
from graphprune.errors import CertificateError
from graphprune.passes.base import run_passes
from graphprune.passes.drop_unread import DropUnread
from graphprune.passes.shrink import Shrink
from graphprune.proof.answers import answers
from graphprune.proof.certify import Certificate, certify_cut, model_limit
from graphprune.proof.compare import max_relative_error
from graphprune.proof.fresh_inputs import batch_size, with_batch
from graphprune.proof.masked import MaskedReference
from graphprune.proof.rounding import SLACK
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


def fits_one_batch(small: Captured, analysis: Analysis, plan: Plan) -> bool:
    """Whether the small model has lost its free batch: wrong at another size, where the whole runs.

    Channels in one dimension with the examples (``x.view(1, b * c, h, w)``) make numbers of the
    graph sizes of both; what they shrink to is known for the examples' batch.
    """
    size = batch_size(small)
    if size is None:
        return False
    reference = MaskedReference(analysis, plan.keep(analysis))
    for other in (size + 1, 2 * size, 1):
        inputs = [with_batch(small, other)]
        expected: list[Any] | None = None
        try:
            with contextlib.suppress(CertificateError):  # the masks may not be known at this size
                expected = answers(reference, inputs)
            if expected is None:
                answers(analysis.module, inputs)
        except Exception:  # noqa: BLE001 - a model may take even numbers of examples only
            continue
        try:
            actual = answers(small.module, inputs)
            if expected is not None:
                return max_relative_error(actual, expected) > SLACK * model_limit(small)
        except Exception:  # noqa: BLE001 - sizes that do not fit together
            return True
    return False
