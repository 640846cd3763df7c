"""Example inputs on which a part shows that it works."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.errors import CertificateError
from graphprune.proof.certify import independent_outputs, model_limit
from graphprune.proof.check_inputs import check_inputs
from graphprune.proof.compare import require_informative


def lively(captured: Captured) -> Captured:
    """The same graph, with standard normal inputs if it does not respond to those recorded.

    What reaches a part inside of a model can be all but constant (a dead branch, an untrained
    model), and then comparing its outputs would prove nothing. The recorded inputs are compared
    all the same when the whole model is run.
    """
    if _responds(captured):
        return captured
    generator = torch.Generator().manual_seed(0)

    def draw(example: torch.Tensor) -> torch.Tensor:
        if not example.is_floating_point():
            return example
        values = torch.randn(example.shape, generator=generator, dtype=torch.float64)
        return values.to(device=example.device, dtype=example.dtype)

    args, kwargs = pytree.tree_map_only(torch.Tensor, draw, (captured.args, captured.kwargs))
    drawn = replace(captured, args=tuple(args), kwargs=dict(kwargs))
    return drawn if _responds(drawn) else captured


def _responds(captured: Captured) -> bool:
    with torch.no_grad():
        outputs = [captured.module(*args, **kwargs) for args, kwargs in check_inputs(captured)]
    free = independent_outputs(captured.module)
    try:
        require_informative(outputs, model_limit(captured), independent=free)
    except CertificateError:
        return False
    return True
