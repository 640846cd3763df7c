"""Lookups: what is indexed keeps its length, all other dimensions move along."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import fx

from graphprune.labels.slots import Labels, clean, compact, varying
from graphprune.replay import replay
from graphprune.rules.context import Context
from graphprune.rules.rule import Rule, overloads, register
from graphprune.values import concrete, is_tensor, shape_of

aten = torch.ops.aten


def _zeros(node: fx.Node, *, source: fx.Node, labels: torch.Tensor) -> Any:
    """Stand-ins for running a lookup on labels: every index is 0, which labels do not depend on."""
    if node is source:
        return labels
    if is_tensor(node):
        value = node.meta["val"]
        dtype = value.dtype if value.dtype in (torch.bool, torch.uint8) else torch.int64
        return torch.zeros(shape_of(node), dtype=dtype)
    return concrete(node)


def _look_up(
    context: Context, node: fx.Node, source: fx.Node, indexed: list[int], kept: Labels
) -> Labels:
    result = []
    for slot in kept:
        if set(varying(slot)) & set(indexed):
            continue
        stand_in = functools.partial(_zeros, source=source, labels=slot.expand(shape_of(source)))
        result.append(compact(replay(node, stand_in)))
    return clean(result)


def _pin_indices(context: Context, node: fx.Node, source: fx.Node) -> None:
    for index in node.all_input_nodes:
        if index is not source:
            context.pin(context.of(index), f"used as an index by {node.name}")


def label_index(context: Context, node: fx.Node) -> Labels:
    """x[i, :, j]: the dimensions with an index are locked."""
    source, indices = node.args[0], node.args[1]
    assert isinstance(source, fx.Node)
    assert isinstance(indices, list | tuple)
    for index in indices:
        if isinstance(index, fx.Node) and index.meta["val"].dtype in (torch.bool, torch.uint8):
            context.pin(context.of(source), f"indexed by a mask in {node.name}")
            _pin_indices(context, node, source)
            return ()
    _pin_indices(context, node, source)
    dims = [dim for dim, index in enumerate(indices) if index is not None]
    kept = context.lock(context.of(source), dims, f"indexed by {node.name}")
    return _look_up(context, node, source, dims, kept)


def label_index_select(context: Context, node: fx.Node) -> Labels:
    """index_select and gather along one dimension."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    dim = int(concrete(node.args[1])) % len(shape_of(source))
    _pin_indices(context, node, source)
    kept = context.lock(context.of(source), [dim], f"indexed by {node.name}")
    return _look_up(context, node, source, [dim], kept)


def label_embedding(context: Context, node: fx.Node) -> Labels:
    """embedding(table (V, D), index): the vocabulary stays, the features are brought forth."""
    table, index = node.args[:2]
    assert isinstance(table, fx.Node)
    assert isinstance(index, fx.Node)
    context.pin(context.of(index), f"used as an index by {node.name}")
    kept = context.lock(context.of(table), [0], f"vocabulary of {node.name}")
    rank = len(shape_of(node))
    labels = []
    for slot in kept:
        if 0 in varying(slot):
            continue
        shape = [1] * rank
        shape[-1] = slot.shape[1]
        labels.append(slot.reshape(shape))
        context.producers.append((node, labels[-1]))
    return clean(labels)


register(Rule(label_index), *overloads("index"))
register(Rule(label_index_select), aten.index_select.default)
register(Rule(label_embedding), aten.embedding.default)
