"""Finding the rule of an operation: the table first, then what torch itself says of the op."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from graphprune.rules import (  # noqa: F401  (imported for the rules they register)
    attention,
    concatenation,
    contraction,
    creation,
    cutting,
    experts,
    indexing,
    movement,
    named_products,
    normalisation,
    pointwise,
    recurrent,
    reduction,
    repetition,
    scatter,
    spectral,
    window,
)
from graphprune.rules.context import Context
from graphprune.rules.plugins import load_rules
from graphprune.rules.rule import RULES, NodeLabels, Rule


def _label_getitem(context: Context, node: fx.Node) -> NodeLabels:
    source, index = node.args
    assert isinstance(source, fx.Node)
    found = context.labels.get(source, ())
    return found[index] if isinstance(found, list) and isinstance(index, int) else ()


_GETITEM = Rule(_label_getitem)


def find_rule(target: Any) -> Rule | None:
    """The rule for a call's target, or None where nobody knows how channels pass through it."""
    if target is operator.getitem:
        return _GETITEM
    if target not in RULES and isinstance(target, torch._ops.OpOverload):
        load_rules(target.namespace)
    if target in RULES:
        return RULES[target]
    if pointwise.is_pointwise(target):
        return pointwise.POINTWISE
    if movement.is_view(target):
        return movement.MOVE
    return None
