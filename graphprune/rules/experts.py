"""Mixtures of experts: rows of one matrix, sorted by expert, times one matrix an expert."""

from __future__ import annotations

from torch import fx

from graphprune.graph.values import shape_of
from graphprune.labels.slots import Labels, unsqueeze, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import Rule, overloads, register


def label_grouped_product(context: Context, node: fx.Node) -> Labels:
    """grouped product(x (S, I), weights (E, I, O), ends (E,)): joint index space (S, I, O).

    Inputs and outputs are the same channels for all experts; the number of experts stays.
    """
    x, weights, ends = node.args[:3]
    assert isinstance(x, fx.Node)
    assert isinstance(weights, fx.Node)
    shape, matrices = shape_of(x), shape_of(weights)
    if len(shape) != 2 or len(matrices) != 3 or len(node.args) > 3:
        raise NotImplementedError("only rows times one matrix an expert")
    context.pin(context.of(ends), f"ends of experts in {node.name}")
    held = context.lock(context.of(weights), [0], f"experts of {node.name}")
    held = tuple(slot for slot in held if 0 not in varying(slot))
    joint = context.multiply(
        [(unsqueeze(context.of(x), -1), (*shape, 1)), (held, (1, *matrices[1:]))],
        f"contraction {node.name}",
        [1],
    )
    labels = context.reduce(joint, [1])
    for slot in labels:
        if 1 in varying(slot):
            context.producers.append((node, slot))
    return labels


register(Rule(label_grouped_product), *overloads("_grouped_mm"))
