"""Hold tensors in place that something outside of a part reads too."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from torch import fx
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.graph.graphmodule import TrainableGraphModule
from graphprune.graph.values import get_tensor, is_tensor


def expose(captured: Captured, names: Collection[str]) -> TrainableGraphModule:
    """The graph, returning the named tensors besides its outputs: ``(outputs, [tensors])``.

    What a graph returns is pinned by the analysis. That is just what a tensor needs that the rest
    of the model reads, so the analysis has to know nothing of parts.

    Args:
        captured: the part; it stays as it is.
        names: parameters and buffers of the part; those that the graph does not read are ignored.

    Returns:
        A copy with further outputs, or the graph itself where there is nothing to expose.
    """
    wanted = {id(get_tensor(captured.module, name)) for name in names}
    nodes: dict[int, str] = {}
    for node in captured.module.graph.find_nodes(op="get_attr"):
        if is_tensor(node):
            tensor = id(get_tensor(captured.module, str(node.target)))
            if tensor in wanted:
                nodes.setdefault(tensor, node.name)
    if not nodes:
        return captured.module
    exposed = copy.deepcopy(captured.module)
    by_name = {node.name: node for node in exposed.graph.nodes}
    extra = tuple(by_name[name] for name in nodes.values())
    output = exposed.graph.output_node()
    flat = output.args[0]
    _return_also(exposed.graph, len(extra))
    output.args = ((*(flat if isinstance(flat, tuple | list) else (flat,)), *extra),)
    exposed.recompile()
    return exposed


def _return_also(graph: fx.Graph, count: int) -> None:
    codegen: Any = copy.copy(graph._codegen)
    info = codegen.pytree_info
    tree = pytree.tree_unflatten([0] * info.out_spec.num_leaves, info.out_spec)
    codegen.pytree_info = info._replace(out_spec=pytree.tree_structure((tree, [0] * count)))
    graph.set_codegen(codegen)
