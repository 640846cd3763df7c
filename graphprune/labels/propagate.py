"""Let labels flow through a captured graph, from its parameters to its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from graphprune.errors import UsageError
from graphprune.graph.chance import draws
from graphprune.graph.values import get_tensor, is_free, shape_of
from graphprune.labels.divided import Division, Place, divide
from graphprune.labels.slots import Labels, clean, varying
from graphprune.rules.context import Context
from graphprune.rules.contraction import is_kernel
from graphprune.rules.probed import label_probed
from graphprune.rules.rule import NodeLabels
from graphprune.rules.table import find_rule


def propagate(module: fx.GraphModule, divisions: Mapping[Place, Division] | None = None) -> Context:
    """Label every tensor of the graph. Needs shapes only: fake tensors serve.

    Graph inputs carry no labels and outputs are pinned, so neither ever changes shape. An op
    without a rule pins whatever reaches it.

    Args:
        module: the graph.
        divisions: dimensions of parameters to be labelled by column and by row.
    """
    context = Context(divisions=divisions or {})
    readers = _readers(module)
    for node in module.graph.nodes:
        context.node = node
        if node.op == "get_attr":
            if node not in context.labels:  # all that read one tensor have its one set of atoms
                together = readers.get(node, [])
                leaf: NodeLabels = _leaf(context, together) if together else ()
                context.labels.update(dict.fromkeys(together or [node], leaf))
        elif node.op == "output":
            for result in node.all_input_nodes:
                context.pin(context.of(result), "output of the model")
        elif node.op == "call_function" and (_holds_tensors(node) or _writes(node)):
            context.labels[node] = _call(context, node)
        else:
            context.labels[node] = ()
        found = context.labels.get(node, ())
        for labels in found if isinstance(found, list) else [found]:
            for slot in labels:
                context.store.add_grid(slot)
    return context


def _holds_tensors(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        return any(isinstance(v, torch.Tensor) for v in value)
    return isinstance(value, torch.Tensor)


def _writes(node: fx.Node) -> bool:
    """Whether a call changes its arguments, which it need not return."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _readers(module: fx.GraphModule) -> dict[fx.Node, list[fx.Node]]:
    """For every node that reads a tensor, all nodes that read it, under this or a tied name."""
    found: dict[int, list[fx.Node]] = {}
    for node in module.graph.find_nodes(op="get_attr"):
        if isinstance(node.meta.get("val"), torch.Tensor):
            found.setdefault(id(get_tensor(module, str(node.target))), []).append(node)
    return {node: together for together in found.values() for node in together}


def _leaf(context: Context, together: list[fx.Node]) -> Labels:
    name = str(together[0].target)
    labels = _new_leaf(context, together)
    labels, divided = divide(context.store, name, labels, context.divisions)
    context.divided |= divided
    return labels


def _new_leaf(context: Context, together: list[fx.Node]) -> Labels:
    node = together[0]
    proposals = []
    for leaf in together:
        for user in leaf.users:
            rule = find_rule(user.target) if user.op == "call_function" else None
            if rule is not None and rule.leaf is not None:
                proposal = rule.leaf(context, user, leaf)
                if proposal is not None:
                    proposals.append(tuple(proposal))
    if not proposals:
        shape = shape_of(node)
        kernel = len(shape) > 2 and any(is_kernel(leaf) for leaf in together)
        removable = [dim < 2 or not kernel for dim in range(len(shape))]
        return context.leaf(shape, str(node.target), removable=removable)
    first = proposals[0]
    for other in proposals[1:]:
        shape = shape_of(node)
        first = context.join([(first, shape), (other, shape)], f"shared parameter {node.target}")
    return clean([slot for slot in first if varying(slot)])


def _call(context: Context, node: fx.Node) -> NodeLabels:
    labels = _by_rule_or_probe(context, node)
    return _leave_alone(context, node, labels) if isinstance(labels, str) else labels


def _by_rule_or_probe(context: Context, node: fx.Node) -> NodeLabels | str:
    """Labels of a call's value, or why there are none to be had."""
    if draws(node):
        return f"random numbers drawn by {node.name}, as many as there are elements"
    rule = find_rule(node.target)
    if rule is None and not _holds_tensors(node):
        return f"no rule for {_name(node.target)}: it writes in place"
    if rule is None:
        probed = label_probed(context, node)
        return f"no rule for {_name(node.target)}: {probed}" if isinstance(probed, str) else probed
    try:
        return rule.label(context, node)
    except UsageError:
        raise  # a mistake in a rule of the user's own
    except Exception as error:  # noqa: BLE001 - a use its rule was not written for: leave it alone
        why = str(error) if isinstance(error, NotImplementedError) else type(error).__name__
        return f"the rule for {node.target} does not cover this use ({why})"


def _name(target: object) -> str:
    """An operator's name, or a Python function's without its address."""
    own = isinstance(target, torch._ops.OpOverload)
    return str(target) if own else str(getattr(target, "__name__", target))


def _leave_alone(context: Context, node: fx.Node, reason: str) -> NodeLabels:
    """Pin what reaches a call. What leaves it is labelled too, so that it shows who is to blame."""
    labelled = False
    for argument in node.all_input_nodes:
        found = context.labels.get(argument, ())
        for labels in found if isinstance(found, list) else [found]:
            context.pin(labels, reason)
            labelled |= bool(labels)
    value: Any = node.meta.get("val")
    several = isinstance(value, list | tuple)
    results = [
        _pinned(context, v, reason) if labelled else () for v in (value if several else [value])
    ]
    return results if several else results[0]


def _pinned(context: Context, value: object, reason: str) -> Labels:
    """New atoms, all pinned, on the fixed dimensions of a result."""
    if not isinstance(value, torch.Tensor):
        return ()
    fixed = [not is_free(size) for size in value.shape]
    shape = tuple(int(size) if known else 1 for size, known in zip(value.shape, fixed, strict=True))
    labels = context.leaf(shape, removable=fixed)
    context.pin(labels, reason)
    return labels
