"""What a rule is, and the table of rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.errors import UsageError
from graphprune.labels.slots import Labels, Slot

if TYPE_CHECKING:
    from graphprune.proof.masked import MaskedValues
    from graphprune.rules.context import Context
    from graphprune.shrinking.rewrite import Rewriter

NodeLabels = Labels | list[Labels]
"""Labels of a node's value: of one tensor, or a list for a node with several outputs."""


@dataclass(frozen=True)
class Rule:
    """All that graphprune knows of one operation.

    Attributes:
        label: from the labels of the inputs to those of the output.
        rewrite: adjusts the sizes baked into the node's arguments once tensors have shrunk; None
            where there are none.
        masked: computes the operation over kept elements only, for those whose value depends on
            how many there are (means, norms); None where masked inputs suffice.
        leaf: slots for a parameter that feeds the node directly, given (input index, shape); None
            for the default of one atom per index of each dimension.
        moves: whether the operation only moves elements of its first argument about.
        affine: whether it is a per-channel affine map (perhaps of normalised values), after which
            a switch belongs.
        across: whether each channel's value depends on other channels, as by statistics over them.
    """

    label: Callable[[Context, fx.Node], NodeLabels]
    rewrite: Callable[[Rewriter, fx.Node], None] | None = None
    masked: Callable[[MaskedValues, fx.Node, tuple[Any, ...], dict[str, Any]], Any] | None = None
    leaf: Callable[[Context, fx.Node, fx.Node], list[Slot] | None] | None = None
    moves: bool = False
    affine: bool = False
    across: bool = False


RULES: dict[Any, Rule] = {}


def register(rule: Rule, *targets: Any) -> None:
    """Enter a rule for op overloads such as ``torch.ops.aten.relu.default``.

    Raises:
        UsageError: there is a rule for one of them already.
    """
    for target in targets:
        if target in RULES:
            raise UsageError(f"there is a rule for {target} already")
        RULES[target] = rule


def overloads(*names: str) -> list[Any]:
    """Every overload of the aten ops of these names that this torch has."""
    found: list[Any] = []
    for name in names:
        packet = getattr(torch.ops.aten, name, None)
        if packet is not None:
            found.extend(getattr(packet, overload) for overload in packet.overloads())
    return found
