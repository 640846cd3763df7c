"""Recurrent nets: LSTM, GRU and plain ones, of any number of layers and both directions; cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import fx

from graphprune.graph.schema import get_argument
from graphprune.graph.values import shape_of
from graphprune.labels.slots import Labels, Slot, along, clean, varying
from graphprune.rules.context import Context, Product
from graphprune.rules.rule import NodeLabels, Rule, overloads, register


def label_recurrent(context: Context, node: fx.Node) -> NodeLabels:
    """lstm/gru/rnn(x, states, weights): gates of one hidden unit, and all layers, go together.

    Layers and directions share one tensor of states, so they keep the same hidden units. A unit
    whose weights and biases are zero stays at zero, so masked inputs suffice for the reference.
    An LSTM's hidden state may be a projection of its cells (Sak et al. 2014); cells and what they
    are projected to are then thinned apart.
    """
    x = get_argument(node, "input")
    assert isinstance(x, fx.Node)
    rank = len(shape_of(x))
    labels = [slot for slot in context.of(x) if varying(slot) != (rank - 1,)]
    context.pin(labels, f"time or batch of {node.name}")
    inputs = _one(context, x, rank - 1)
    cells: list[Slot] = []
    hidden: list[Slot] = []
    layers = list(_layers(node))
    for layer in layers:
        for own in layer:
            context.unite(inputs, _one(context, own.weights[0], 1), f"input of {node.name}")
            _multiplies(context, node, own)
            hidden.append(_one(context, own.weights[1], 1))
            units = hidden if own.projection is None else cells
            units.extend(_gates(context, own))
            if own.projection is not None:
                cells.append(_one(context, own.projection, 1))
                hidden.append(_one(context, own.projection, 0))
        inputs = torch.cat([hidden[-1]] * len(layer))
    states = _states(node)
    hidden.append(_state(context, node, states[0]))
    units = cells or hidden
    units.extend(_state(context, node, state) for state in states[1:])
    for one, other in itertools.chain(itertools.pairwise(hidden), itertools.pairwise(cells)):
        context.unite(one, other, f"hidden units of {node.name}")
    outputs = _outputs(context, node, [inputs, hidden[0], units[0]])
    context.producers.extend(_read_within(context, layers))
    return outputs


class _Direction(NamedTuple):
    """The parameters of one layer in one direction.

    Attributes:
        weights: from the input and from the hidden state, and their biases if there are any.
        projection: of the cells, weight (P, H); None: the hidden state has the size of the cells.
    """

    weights: list[fx.Node]
    projection: fx.Node | None


def _layers(node: fx.Node) -> Iterator[list[_Direction]]:
    """The directions of each layer."""
    weights = get_argument(node, "params")
    layers = int(get_argument(node, "num_layers"))
    directions = 2 if get_argument(node, "bidirectional") else 1
    plain = 4 if get_argument(node, "has_biases") else 2
    count = len(weights) // (layers * directions)
    each = [
        _Direction(list(own[:plain]), own[plain] if count > plain else None)
        for own in (weights[first : first + count] for first in range(0, len(weights), count))
    ]
    return (each[first : first + directions] for first in range(0, len(each), directions))


def _multiplies(context: Context, node: fx.Node, own: _Direction) -> None:
    """Note the products within: each matrix, times as many vectors as there are steps."""
    for matrix in (*own.weights[:2], own.projection):
        if matrix is not None:
            size = math.prod(shape_of(matrix))
            context.products.setdefault(node, []).append(Product(context.of(matrix), size))


def _read_within(
    context: Context, layers: list[list[_Direction]]
) -> Iterator[tuple[fx.Node, Slot]]:
    """(matrix, its columns) of all that reads units inside the call, where no value shows them.

    A unit's output alone is not all of it: what the next step and the next layer read of it counts
    as brought forth too.
    """
    for number, layer in enumerate(layers):
        for own in layer:
            for matrix in (own.weights[1], own.weights[0] if number else None, own.projection):
                if matrix is not None:
                    slots = context.of(matrix)
                    yield from ((matrix, slot) for slot in slots if varying(slot) == (1,))


def _one(context: Context, node: fx.Node, dim: int) -> Slot:
    """Atoms along one dimension of a value, 1-D; none of them where it has no label there."""
    for slot in context.of(node):
        if varying(slot) == (dim,):
            return slot.reshape(-1)
    return torch.full((shape_of(node)[dim],), -1)


def _gates(context: Context, own: _Direction) -> list[Slot]:
    """Atoms of the units, (H,), as each gate of each weight and bias has them."""
    size = shape_of(own.weights[1] if own.projection is None else own.projection)[1]
    every = own.weights if own.projection is None else [*own.weights, own.projection]
    for weight in every:  # one that another layer makes may be labelled across both dimensions
        grids = [slot for slot in context.of(weight) if len(varying(slot)) > 1]
        context.pin(grids, "elements of a recurrent weight")
    rows = [_one(context, weight, 0).reshape(-1, size) for weight in own.weights]
    return [gate for weight in rows for gate in weight.unbind(0)]


def _state(context: Context, node: fx.Node, state: fx.Node) -> Slot:
    """Atoms of the units of a given state; its layers stay."""
    rest = [slot for slot in context.of(state) if varying(slot)[-1:] != (slot.ndim - 1,)]
    context.pin(rest, f"layers of {node.name}")
    return _one(context, state, len(shape_of(state)) - 1)


def _states(node: fx.Node) -> list[fx.Node]:
    given = get_argument(node, "hx")
    return [given] if isinstance(given, fx.Node) else list(given)


def _outputs(context: Context, node: fx.Node, units: list[Slot]) -> list[Labels]:
    """Labels of the outputs along the last dimension, from the atoms of each."""
    labels = []
    value: Any = node.meta["val"]
    for atoms, tensor in zip(units, value, strict=False):  # all but LSTMs have one state
        slot = along(atoms, tensor.ndim - 1, tensor.ndim)
        labels.append(clean([slot]))
    context.producers.extend((node, slot) for output in labels for slot in output)
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
    own = _Direction(weights, None)
    _multiplies(context, node, own)
    found = [_one(context, weights[1], 1), *_gates(context, own)]
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
