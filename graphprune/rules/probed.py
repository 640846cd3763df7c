"""Labels through an operator that nobody wrote a rule for."""

from __future__ import annotations

from torch import fx

from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels


def label_probed(context: Context, node: fx.Node) -> NodeLabels | str:
    """Labels of the outputs as far as the deletion probe finds them; else why it does not."""
    del context, node
    return "not tried"
