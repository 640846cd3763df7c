"""Drop idle calls: those that check what capture has checked, or make what nobody reads."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.aliases import Aliases, written_arguments
from graphprune.graph.values import is_empty
from graphprune.passes.base import GraphPass, finished

_ASSERTIONS = (
    "_assert_async",
    "_assert_scalar",
    "_assert_tensor_metadata",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
)


@dataclass(frozen=True)
class DropIdle(GraphPass):
    """Erase calls that change no output of the graph.

    1. guard calls and assertions, with the arithmetic on sizes that only they read;
    2. outputs of a call with several that nobody reads: they may be scratch space whose size is
       the kernel's own affair;
    3. views that nobody reads, and writes into values that nobody reads afterwards (``set_()``, to
       free memory) or that have no elements (rotary positions of width 0).

    Random calls stay: they move the generator on. Parameters stay: see drop-unread.
    """

    name: ClassVar[str] = "drop-idle"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether anything was found."""
        modified = _drop_assertions(graph_module)
        modified |= _drop_unread_outputs(graph_module.graph)
        modified |= _drop_unread_writes(graph_module.graph)
        return finished(graph_module, modified)


def _drop_assertions(graph_module: fx.GraphModule) -> bool:
    graph = graph_module.graph
    doomed = []
    for node in graph.nodes:
        guard = node.op == "call_module" and node.target == "_guards_fn"
        packet = getattr(node.target, "_overloadpacket", None)
        assertion = packet is not None and packet.__name__ in _ASSERTIONS
        if (guard or assertion) and not node.users:
            doomed.append(node)
    for node in reversed(doomed):
        graph.erase_node(node)
    if doomed:
        _drop_dead_symbols(graph)
    if hasattr(graph_module, "_guards_fn"):
        delattr(graph_module, "_guards_fn")
    return bool(doomed)


def _drop_dead_symbols(graph: fx.Graph) -> None:
    """Erase unused arithmetic on sizes that the assertions leave behind."""
    for node in reversed(list(graph.nodes)):
        value = node.meta.get("val")
        scalar = isinstance(value, torch.SymInt | torch.SymBool | torch.SymFloat | bool)
        if node.op == "call_function" and scalar and not node.users:
            graph.erase_node(node)


def _drop_unread_outputs(graph: fx.Graph) -> bool:
    picked = graph.find_nodes(op="call_function", target=operator.getitem)
    unread = [node for node in picked if not node.users]
    for node in unread:
        graph.erase_node(node)
    return bool(unread)


def _drop_unread_writes(graph: fx.Graph) -> bool:
    aliases = Aliases(graph)
    changed = False
    for node in reversed(list(graph.nodes)):
        # A random operator moves the generator on, which those after it notice.
        random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if node.users or random or aliases.root(node) is node:
            continue
        written = written_arguments(node)
        made_here = all(aliases.root(value).op == "call_function" for value in written)
        read = (value for value in written if not is_empty(value))
        if made_here and not any(aliases.read_after(value, node) for value in read):
            graph.erase_node(node)
            changed = True
    return changed
