"""Drop unread parameters: what no call of the graph reads, such as heads for training only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.passes.base import GraphPass


def unread_parameters(graph_module: fx.GraphModule) -> list[str]:
    """Names of the parameters that no node of the graph reads, also under another name."""
    attributes = graph_module.graph.find_nodes(op="get_attr")
    targets = {str(node.target) for node in attributes if node.users}
    named = dict(graph_module.named_parameters(remove_duplicate=False))
    read = {id(parameter) for name, parameter in named.items() if name in targets}
    return [name for name, parameter in named.items() if id(parameter) not in read]


@dataclass(frozen=True, eq=False)
class DropUnread(GraphPass):
    """Remove parameters that the graph does not read; buffers stay.

    A captured graph is that of evaluation mode, so it never reads what serves training alone.
    """

    name: ClassVar[str] = "drop-unread"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Remove in place; ``modified`` says whether there was anything to remove."""
        names = unread_parameters(graph_module)
        for node in graph_module.graph.find_nodes(op="get_attr"):
            if str(node.target) in names:
                graph_module.graph.erase_node(node)
        for name in names:
            owner, _, key = name.rpartition(".")
            delattr(graph_module.get_submodule(owner), key)
        return PassResult(graph_module, bool(names))
