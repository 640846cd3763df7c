"""Tensors that the graph itself makes: zeros and the like have as many channels as needed."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.labels.slots import Labels
from graphprune.rules.context import Context
from graphprune.rules.movement import rewrite_sizes
from graphprune.rules.rule import Rule, overloads, register


def label_fresh(context: Context, node: fx.Node) -> Labels:
    """zeros, ones, full, empty: every element is alike, so any number of them will do."""
    return context.fresh(node)


def label_constant(context: Context, node: fx.Node) -> Labels:
    """arange and its kind: the values depend on the position, nothing may be removed."""
    del context, node
    return ()


_UNIFORM = ("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full", "new_empty")

register(Rule(label_fresh, rewrite=rewrite_sizes), *overloads(*_UNIFORM))
register(
    Rule(label_constant),
    *overloads("arange", "eye", "linspace", "scalar_tensor", "rand", "randn", "randint"),
    *(torch.ops.aten.sym_size.int, torch.ops.aten.sym_numel.default),
)
