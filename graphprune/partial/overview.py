"""What can be pruned from a model that torch.export cannot capture whole, part by part."""

from __future__ import annotations

from typing import Any

from torch import nn

from graphprune.analysis.overview import overview
from graphprune.capturing.capture import normalise_inputs
from graphprune.errors import ModelError
from graphprune.partial.asked import explain
from graphprune.partial.observe import copied, macs_of_a_run
from graphprune.partial.parts import find_parts


def overview_parts(model: nn.Module, example_inputs: Any, failure: ModelError) -> dict[str, Any]:
    """Overviews of the parts by name, what is left alone by name and why, and why it is in parts.

    Args:
        model: any module; it is never changed.
        example_inputs: as :func:`graphprune.compress` takes them.
        failure: why the whole model cannot be captured.

    Raises:
        ModelError: the model does not run on the inputs, or cannot be copied.
    """
    inputs, original = normalise_inputs(example_inputs), copied(model, failure)
    macs_of_a_run(original, inputs, 0, failure)
    found = find_parts(original, inputs)
    return {
        "in_parts": explain(failure),
        "parts": {part.name: overview(part.graphs[0], part.analyses[0]) for part in found.parts},
        "left": found.left,
    }
