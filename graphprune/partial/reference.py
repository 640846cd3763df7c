"""The masked original of a part, for each of the calls that it was captured for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphprune.analysis.groups import Analysis
from graphprune.choosing.plan import Plan, fingerprint
from graphprune.graph.trees import Inputs
from graphprune.partial.calls import serves
from graphprune.partial.parts import Part
from graphprune.proof.masked import MaskedReference


def plan_for(analysis: Analysis, plan: Plan) -> Plan:
    """A plan made on one graph of a part, for another graph of the same part.

    Both graphs read the same weights, so positions carry over; ``Plan.keep`` then checks that they
    respect the other graph's couplings.
    """
    kept = {name: dims for name, dims in plan.kept.items() if name in analysis.leaves}
    return replace(plan, kept=kept, fingerprint=fingerprint(analysis))


class GraphReference:
    """The masked original as one graph has it.

    Args:
        analysis: of one graph of the part, see :class:`graphprune.partial.parts.Part`.
        plan: of the part.
        exposed: whether the analysed graph returns tensors besides the part's outputs.

    Raises:
        PlanError: the plan contradicts this graph's couplings.
    """

    def __init__(self, analysis: Analysis, plan: Plan, exposed: bool) -> None:
        self._masked = MaskedReference(analysis, plan_for(analysis, plan).keep(analysis))
        self._exposed = exposed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Outputs of the part as the model takes them."""
        outputs = self._masked(*args, **kwargs)
        return outputs[0] if self._exposed else outputs


class PartReference:
    """The masked original of a part; which graph serves depends on the call.

    Raises:
        PlanError: the plan contradicts the couplings of one of the part's graphs.
    """

    def __init__(self, part: Part, plan: Plan) -> None:
        self._graphs = part.graphs
        self.references = tuple(
            GraphReference(analysis, plan, analysis.module is not graph.module)
            for graph, analysis in zip(part.graphs, part.analyses, strict=True)
        )

    def for_call(self, inputs: Inputs) -> GraphReference | None:
        """The reference that takes this call; None if no graph was captured for its shapes."""
        for graph, reference in zip(self._graphs, self.references, strict=True):
            if serves(graph, inputs):
                return reference
        return None
