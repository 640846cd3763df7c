"""Let labels flow through a captured graph, from its parameters to its outputs."""

from __future__ import annotations

import torch
from torch import fx

from graphprune.labels.slots import Labels, clean, varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels
from graphprune.rules.table import find_rule
from graphprune.values import shape_of


def propagate(module: fx.GraphModule) -> Context:
    """Label every tensor of the graph. Needs shapes only: fake tensors serve.

    Graph inputs carry no labels and outputs are pinned, so neither ever changes shape. An op
    without a rule pins whatever reaches it.
    """
    context = Context()
    leaves: dict[str, NodeLabels] = {}
    for node in module.graph.nodes:
        context.node = node
        if node.op == "get_attr":
            context.labels[node] = _leaf(context, node, leaves)
        elif node.op == "output":
            for result in node.all_input_nodes:
                context.pin(context.of(result), "output of the model")
        elif node.op == "call_function" and _holds_tensors(node):
            context.labels[node] = _call(context, node)
        else:
            context.labels[node] = ()
        labels = context.labels.get(node, ())
        for one in labels if isinstance(labels, list) else [labels]:
            for slot in one:
                context.store.add_grid(slot)
    return context


def _holds_tensors(node: fx.Node) -> bool:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(v, torch.Tensor) for v in values)


def _leaf(context: Context, node: fx.Node, leaves: dict[str, NodeLabels]) -> NodeLabels:
    """Atoms of a parameter or buffer; one that is used twice, or tied, has them once."""
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return ()
    key = str(node.meta.get("tied_to", node.target))
    if key not in leaves:
        leaves[key] = _new_leaf(context, node)
    return leaves[key]


def _new_leaf(context: Context, node: fx.Node) -> Labels:
    proposals = []
    for user in node.users:
        rule = find_rule(user.target) if user.op == "call_function" else None
        if rule is not None and rule.leaf is not None:
            proposal = rule.leaf(context, user, node)
            if proposal is not None:
                proposals.append(tuple(proposal))
    if not proposals:
        return context.leaf(shape_of(node), str(node.target))
    first = proposals[0]
    for other in proposals[1:]:
        shape = shape_of(node)
        first = context.join([(first, shape), (other, shape)], f"shared parameter {node.target}")
    return clean([slot for slot in first if varying(slot)])


def _call(context: Context, node: fx.Node) -> NodeLabels:
    rule = find_rule(node.target)
    reason = f"no rule for {node.target}"
    if rule is not None:
        try:
            return rule.label(context, node)
        except Exception as error:  # noqa: BLE001 - a use its rule was not written for: leave it alone
            reason = f"the rule for {node.target} does not cover this use ({type(error).__name__})"
    for argument in node.all_input_nodes:
        found = context.labels.get(argument, ())
        for labels in found if isinstance(found, list) else [found]:
            context.pin(labels, reason)
    value = node.meta["val"]
    return [() for _ in value] if isinstance(value, list | tuple) else ()
