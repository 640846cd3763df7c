"""Recurrent nets: LSTM, GRU and plain ones, of any number of layers and both directions; cells."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import fx

from graphprune.graph.schema import get_argument
from graphprune.graph.values import shape_of
from graphprune.labels.slots import Labels, Slot, along, clean, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register


def label_recurrent(context: Context, node: fx.Node) -> NodeLabels:
    """lstm/gru/rnn(x, states, weights): gates of one hidden unit, and all layers, go together.

    Layers and directions share one tensor of states, so they keep the same hidden units. A unit
    whose weights and biases are zero stays at zero, so masked inputs suffice for the reference.
    """
    x, weights = get_argument(node, "input"), get_argument(node, "params")
    assert isinstance(x, fx.Node)
    reason = f"hidden units of {node.name}"
    rank = len(shape_of(x))
    labels = [slot for slot in context.of(x) if varying(slot) != (rank - 1,)]
    context.pin(labels, f"time or batch of {node.name}")
    inputs = _one(context, x, rank - 1)
    hidden: Slot | None = None
    both = 2 if get_argument(node, "bidirectional") else 1
    per_layer = (4 if get_argument(node, "has_biases") else 2) * both
    if len(weights) != per_layer * int(get_argument(node, "num_layers")):
        raise NotImplementedError("projected hidden states")
    for first in range(0, len(weights), per_layer):
        layer = weights[first : first + per_layer]
        found = []
        for direction in range(both):
            own = layer[direction * per_layer // both : (direction + 1) * per_layer // both]
            context.unite(inputs, _one(context, own[0], 1), f"input of {node.name}")
            found.extend(_hidden_units(context, own))
        for one, other in itertools.pairwise([*found, *([hidden] if hidden is not None else [])]):
            context.unite(one, other, reason)
        hidden = found[0]
        inputs = torch.cat([hidden] * both)
    assert hidden is not None
    for state in _states(node):
        context.unite(hidden, _one(context, state, len(shape_of(state)) - 1), reason)
        rest = [slot for slot in context.of(state) if varying(slot)[-1:] != (slot.ndim - 1,)]
        context.pin(rest, f"layers of {node.name}")
    return _outputs(context, node, torch.cat([hidden] * both), hidden)


def _one(context: Context, node: fx.Node, dim: int) -> Slot:
    """Atoms along one dimension of a value, 1-D; none of them where it has no label there."""
    for slot in context.of(node):
        if varying(slot) == (dim,):
            return slot.reshape(-1)
    return torch.full((shape_of(node)[dim],), -1)


def _hidden_units(context: Context, weights: list[fx.Node]) -> list[Slot]:
    """Atoms of the hidden units, (H,), as each gate of each weight and bias has them."""
    size = shape_of(weights[1])[1]
    for weight in weights:  # one that another layer makes may be labelled across both dimensions
        grids = [slot for slot in context.of(weight) if len(varying(slot)) > 1]
        context.pin(grids, "elements of a recurrent weight")
    found = [_one(context, weights[1], 1)]
    for weight in weights:
        found.extend(_one(context, weight, 0).reshape(-1, size).unbind(0))
    return found


def _states(node: fx.Node) -> list[fx.Node]:
    given = get_argument(node, "hx")
    return [given] if isinstance(given, fx.Node) else list(given)


def _outputs(context: Context, node: fx.Node, wide: Slot, hidden: Slot) -> list[Labels]:
    labels = []
    value: Any = node.meta["val"]
    for index, tensor in enumerate(value):
        atoms = wide if index == 0 else hidden
        slot = along(atoms, tensor.ndim - 1, tensor.ndim)
        labels.append(clean([slot]))
    context.producers.extend((node, slot) for slot in labels[0])
    return labels


def label_cell(context: Context, node: fx.Node) -> NodeLabels:
    """lstm_cell, gru_cell, rnn cells: one step of the above."""
    x = get_argument(node, "input")
    names = ("w_ih", "w_hh", "b_ih", "b_hh")
    given = [get_argument(node, name) for name in names]
    weights = [weight for weight in given if isinstance(weight, fx.Node)]
    reason = f"hidden units of {node.name}"
    last = len(shape_of(x)) - 1
    for value in (x, *_states(node)):
        beside = [slot for slot in context.of(value) if varying(slot) != (last,)]
        context.pin(beside, f"batch of {node.name}")
    context.unite(_one(context, x, last), _one(context, weights[0], 1), f"input of {node.name}")
    found = _hidden_units(context, weights)
    found += [_one(context, state, last) for state in _states(node)]
    for one, other in itertools.pairwise(found):
        context.unite(one, other, reason)
    slot = along(found[0], last, last + 1)
    context.producers.append((node, slot))
    several = isinstance(node.meta["val"], list | tuple)
    return [clean([slot])] * len(node.meta["val"]) if several else clean([slot])


register(
    Rule(label_recurrent),
    *(o for o in overloads("lstm", "gru", "rnn_tanh", "rnn_relu") if o._overloadname == "input"),
)
register(
    Rule(label_cell),
    *overloads("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
)
