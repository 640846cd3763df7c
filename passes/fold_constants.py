"""Fold constants: what a forward computes from numbers alone becomes a tensor of the graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.aliases import Aliases, written_arguments
from graphprune.graph.chance import draws
from graphprune.graph.constants import add_constant
from graphprune.graph.values import get_tensor, is_free, is_tensor, read_by
from graphprune.passes.base import GraphPass

aten = torch.ops.aten

LARGEST = 2**20
"""Elements of a tensor beyond which it is left to be computed."""

_PREFIX = "_constant"
_SIZES = (2, 3)


@dataclass(frozen=True)
class FoldConstants(GraphPass):
    """Let tables that a forward computes anew on every call be tensors of the graph.

    ``x + positions(x.shape[1])`` adds sines of ``torch.arange``, which cannot be made for fewer
    channels: another number of channels has other frequencies. As a tensor they lose the same
    channels as x, as a buffer of the same values would.

    A constant that is repeated for every example is folded for one, and expanded again.

    Left alone: whatever depends on an input, a parameter, a buffer or chance, is written to by what
    does, is of integers, or is the same number everywhere, which any size can have.
    """

    name: ClassVar[str] = "fold-constants"
    tensors: frozenset[str] = field(default_factory=frozenset)
    """Names of tensors that are constants: those that torch.export lifted out of a forward."""

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether anything was folded."""
        cluster = _Cluster(graph_module, self.tensors)
        replaced = [node for node in cluster.borders() if _fold(graph_module, cluster, node)]
        if replaced:
            cluster.erase_unneeded()
            graph_module.graph.lint()
            graph_module.recompile()
        return PassResult(graph_module, bool(replaced))


class _Cluster:
    """The calls of a graph whose values are the same on every run, and these values."""

    def __init__(self, graph_module: fx.GraphModule, tensors: Iterable[str]) -> None:
        self._module = graph_module
        self._graph = graph_module.graph
        self._tensors = frozenset(tensors)
        self._order = {node: place for place, node in enumerate(self._graph.nodes)}
        self._aliases = Aliases(self._graph)
        self._writers: dict[fx.Node, list[fx.Node]] = {}
        for node in self._graph.nodes:
            for target in written_arguments(node):
                self._writers.setdefault(self._aliases.root(target), []).append(node)
        self._members = self._find()
        self._values = {size: self._run(size) for size in _SIZES} if self._members else {}

    def _find(self) -> set[fx.Node]:
        """Constant calls; memory that anything else writes to is not constant."""
        written: set[fx.Node] = set()
        while True:
            members: set[fx.Node] = set()
            for node in self._graph.nodes:
                if self._aliases.root(node) not in written and self._is_constant(node, members):
                    members.add(node)
            more = {
                root
                for root, writers in self._writers.items()
                if root in members and any(writer not in members for writer in writers)
            }
            if not more:
                return members
            written |= more

    def _is_constant(self, node: fx.Node, members: set[fx.Node]) -> bool:
        if node.op == "get_attr":
            return str(node.target) in self._tensors
        if node.op != "call_function" or not is_tensor(node) or draws(node):
            return False
        if not isinstance(node.target, torch._ops.OpOverload):
            return False
        if node.target.namespace != "aten" or node.meta["val"].is_meta:
            return False
        return all(n in members for n in read_by(node) if not _is_number(n))

    def _run(self, size: int) -> dict[fx.Node, Any]:
        """Values of all members, with ``size`` for every free size."""
        values: dict[fx.Node, Any] = {}

        def given(node: fx.Node) -> Any:
            if node in values:
                return values[node]
            return _number(node, size) if _is_number(node) else _stand_in(node, size)

        with torch.no_grad():
            for node in self._graph.nodes:
                if node not in self._members:
                    continue
                if node.op == "get_attr":
                    values[node] = get_tensor(self._module, str(node.target)).clone()
                    continue
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), given)
                try:
                    values[node] = node.target(*args, **kwargs)
                except (IndexError, RuntimeError, TypeError, ValueError):
                    values[node] = None
        return values

    def borders(self) -> list[fx.Node]:
        """Members that others read, once nothing changes them any more."""
        found = []
        for node in self._graph.nodes:
            readers = [user for user in node.users if user not in self._members]
            if node not in self._members or node.op == "get_attr" or not readers:
                continue
            first = min(self._order[user] for user in readers)
            writers = self._writers.get(self._aliases.root(node), [])
            if all(self._order[writer] < first for writer in writers):
                found.append(node)
        return found

    def value(self, node: fx.Node) -> torch.Tensor | None:
        """The value of a border, of size 1 along free sizes; None where it is not to be folded."""
        free = [dim for dim, size in enumerate(node.meta["val"].shape) if is_free(size)]
        ones = []
        for size in _SIZES:
            value = self._values[size].get(node)
            if not isinstance(value, torch.Tensor) or not 0 < value.numel() <= LARGEST:
                return None
            if value.is_meta or not (value.is_floating_point() or value.is_complex()):
                return None
            ones.append(_first_of(value, free))
        one, other = ones
        if one is None or other is None or not torch.equal(one, other):
            return None
        return None if bool((one == one.reshape(-1)[0]).all()) else one.clone()

    def readers(self, node: fx.Node) -> list[fx.Node]:
        """Who reads a border besides members."""
        return [user for user in node.users if user not in self._members]

    def erase_unneeded(self) -> None:
        """Erase the members whose values nobody reads any more."""
        needed: set[fx.Node] = set()
        pending = [node for node in self._members if self.readers(node)]
        while pending:
            node = pending.pop()
            if node in needed:
                continue
            needed.add(node)
            sources = [*node.all_input_nodes, *self._writers.get(self._aliases.root(node), [])]
            pending += [source for source in sources if source in self._members]
        for node in reversed(list(self._graph.nodes)):
            if node in self._members - needed and not node.users:
                self._graph.erase_node(node)


def _is_number(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | int | float | bool)


def _number(node: fx.Node, size: int) -> Any:
    value = node.meta["val"]
    if not isinstance(value, torch.SymInt | torch.SymFloat):
        return value
    number = _with_size(value, size)
    return int(number) if isinstance(value, torch.SymInt) else float(number)


def _stand_in(node: fx.Node, size: int) -> torch.Tensor:
    """A tensor of which only the shape and kind are read."""
    value = node.meta["val"]
    shape = [
        int(_with_size(length, size)) if is_free(length) else int(length) for length in value.shape
    ]
    return torch.empty((), dtype=value.dtype, device=value.device).expand(shape)


def _with_size(symbolic: torch.SymInt | torch.SymFloat, size: int) -> Any:
    """What a symbolic number is with ``size`` for every free size."""
    expression = symbolic.node.expr
    return expression.xreplace(dict.fromkeys(expression.free_symbols, size))


def _first_of(value: torch.Tensor, dims: list[int]) -> torch.Tensor | None:
    """What stands at every place along these dimensions; None where places differ."""
    first = value
    for dim in dims:
        first = first.narrow(dim, 0, 1)
    return first if torch.equal(first.expand_as(value), value) else None


def _fold(graph_module: fx.GraphModule, cluster: _Cluster, node: fx.Node) -> bool:
    value = cluster.value(node)
    readers = cluster.readers(node)
    if value is None or all(user.op == "output" for user in readers):
        return False
    sizes = _sizes(node)
    if sizes is None:
        return False
    with graph_module.graph.inserting_before(node):
        new = add_constant(graph_module, _PREFIX, value, node)
    new.meta |= {key: note for key, note in node.meta.items() if key != "val"}
    if any(isinstance(size, fx.Node) for size in sizes):
        with graph_module.graph.inserting_before(node):
            new = graph_module.graph.call_function(aten.expand.default, (new, sizes))
        new.meta = dict(node.meta)
    for user in readers:
        user.replace_input_with(node, new)
    return True


def _sizes(node: fx.Node) -> list[Any] | None:
    """The shape of a value as arguments of a call; None where no node holds a free size."""
    earlier: dict[Any, fx.Node] = {}
    for other in node.graph.nodes:
        if other is node:
            break
        value = other.meta.get("val")
        if isinstance(value, torch.SymInt):
            earlier.setdefault(value.node.expr, other)
    sizes = [
        earlier.get(size.node.expr) if is_free(size) else int(size)
        for size in node.meta["val"].shape
    ]
    return None if None in sizes else sizes
