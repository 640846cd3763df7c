"""Normalise: bring a freshly exported graph into the form that the analysis and rewrites expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.aliases import Aliases, written_arguments
from graphprune.graph.values import is_empty
from graphprune.passes.base import GraphPass, finished

aten = torch.ops.aten


@dataclass(frozen=True)
class Normalise(GraphPass):
    """Clean an exported graph without changing what it computes.

    1. the default scale of scaled_dot_product_attention, which depends on the head size, is
       written out, so that shortening the heads later does not change it;
    2. the length that repeat_interleave is told, though it follows from what is repeated how often,
       is dropped: it would be that of before the cut;
    3. empty parts of concatenations are dropped: they have no element that could say which
       channels they hold; the concatenation of a single tensor is a copy of it;
    4. view, an unsafe one too, becomes reshape: whether memory can be viewed depends on its layout,
       which other sizes, or another device's kernels, change. Where it can, reshape is that view;
    5. detach, which keeps gradients out, is dropped where there are none: from whole numbers;
    6. inputs that the model writes into are copied first: the caller's tensors stay as they are.

    Left alone: everything else. Unused parameters stay, so that the state dict keeps their names.
    """

    name: ClassVar[str] = "normalise"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether anything was found."""
        modified = _write_out_attention_scale(graph_module)
        modified |= _drop_repeated_length(graph_module.graph)
        modified |= _drop_empty_parts(graph_module.graph)
        modified |= _copy_single_parts(graph_module.graph)
        modified |= _views_to_reshapes(graph_module.graph)
        modified |= _drop_plain_detaches(graph_module.graph)
        modified |= _copy_written_inputs(graph_module.graph)
        return finished(graph_module, modified)


def _write_out_attention_scale(graph_module: fx.GraphModule) -> bool:
    changed = False
    for node in graph_module.graph.nodes:
        if node.target is not aten.scaled_dot_product_attention.default:
            continue
        if node.kwargs.get("scale") is None:
            head_size = int(node.args[0].meta["val"].shape[-1])
            node.kwargs = {**node.kwargs, "scale": head_size**-0.5}
            changed = True
    return changed


def _drop_repeated_length(graph: fx.Graph) -> bool:
    changed = False
    for node in graph.find_nodes(op="call_function", target=aten.repeat_interleave.self_int):
        if node.kwargs.get("output_size") is not None:
            node.kwargs = {**node.kwargs, "output_size": None}
            changed = True
    return changed


def _drop_empty_parts(graph: fx.Graph) -> bool:
    changed = False
    for node in list(graph.nodes):
        if node.target is not aten.cat.default:
            continue
        full = [part for part in node.args[0] if not is_empty(part)]
        if not full or len(full) == len(node.args[0]):
            continue
        empty = [part for part in node.args[0] if part not in full]
        node.args = (full, *node.args[1:])
        for part in dict.fromkeys(empty):
            _erase_unused(graph, part)
        changed = True
    return changed


def _copy_single_parts(graph: fx.Graph) -> bool:
    """A concatenation of one tensor, as einops.pack makes it, is a copy of that."""
    nodes = graph.find_nodes(op="call_function", target=aten.cat.default)
    single = [node for node in nodes if len(node.args[0]) == 1]
    for node in single:
        node.target, node.args, node.kwargs = aten.clone.default, (node.args[0][0],), {}
    return bool(single)


def _views_to_reshapes(graph: fx.Graph) -> bool:
    kinds = (aten.view.default, aten._unsafe_view.default)
    views = [node for kind in kinds for node in graph.find_nodes(op="call_function", target=kind)]
    for node in views:
        node.target = aten.reshape.default
    return bool(views)


def _drop_plain_detaches(graph: fx.Graph) -> bool:
    detached = graph.find_nodes(op="call_function", target=aten.detach.default)
    kinds = {node: node.meta["val"].dtype for node in detached}
    plain = [n for n, kind in kinds.items() if not (kind.is_floating_point or kind.is_complex)]
    for node in plain:
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)
    return bool(plain)


def _copy_written_inputs(graph: fx.Graph) -> bool:
    aliases = Aliases(graph)
    roots = {aliases.root(to) for node in graph.nodes for to in written_arguments(node)}
    written = [node for node in graph.find_nodes(op="placeholder") if node in roots]
    last = graph.find_nodes(op="placeholder")[-1] if written else None
    for node in reversed(written):
        assert last is not None
        with graph.inserting_after(last):
            copy = graph.call_function(aten.clone.default, (node,))
        copy.meta = dict(node.meta)
        node.replace_all_uses_with(copy, delete_user_cb=lambda user, own=copy: user is not own)
    return bool(written)


def _erase_unused(graph: fx.Graph, node: fx.Node) -> None:
    """Erase calls that nothing reads any more, backwards from ``node``."""
    if node.op == "call_function" and not node.users and not node.is_impure():
        sources = node.all_input_nodes
        graph.erase_node(node)
        for source in sources:
            _erase_unused(graph, source)
