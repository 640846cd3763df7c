"""Which nodes of a graph share memory, by the aliasing that their operators' schemas declare."""

from __future__ import annotations

import operator

from torch import fx

from graphprune.graph.schema import get_argument, schema_of


class Aliases:
    """Memory shared in a graph: views of one value and in-place changes to it."""

    def __init__(self, graph: fx.Graph) -> None:
        self._order = {node: position for position, node in enumerate(graph.nodes)}
        self._source: dict[fx.Node, fx.Node] = {}
        self._family: dict[fx.Node, list[fx.Node]] = {}
        self._changed: dict[fx.Node, list[fx.Node]] = {}
        for node in graph.nodes:
            source = _aliased_argument(node)
            if source is not None:
                self._source[node] = source
            self._family.setdefault(self.root(node), []).append(node)
            for written in written_arguments(node):
                self._changed.setdefault(self.root(written), []).append(node)

    def root(self, node: fx.Node) -> fx.Node:
        """The node that made the memory of ``node``."""
        while node in self._source:
            node = self._source[node]
        return node

    def conflict(self, node: fx.Node) -> fx.Node | None:
        """A node through which a fresh copy in place of ``node`` would be noticed, else None.

        Replacing a value by a copy is wrong where the same memory is changed afterwards and also
        read under another name, or where ``node`` is itself an in-place change read under another.
        """
        others = [
            other
            for other in self._family[self.root(node)]
            if other is not node
            and not self._derives(other, node)
            and any(self._order[user] > self._order[node] for user in other.users)
        ]
        if not others:
            return None
        changed = self._changed.get(self.root(node), [])
        if any(self._order[change] >= self._order[node] for change in changed):
            return others[0]
        return None

    def read_after(self, value: fx.Node, node: fx.Node) -> bool:
        """Whether a call after ``node`` reads the memory of ``value``, under whatever name."""
        return any(
            self._order[user] > self._order[node]
            for name in self._family[self.root(value)]
            for user in name.users
        )

    def _derives(self, node: fx.Node, ancestor: fx.Node) -> bool:
        while node in self._source:
            node = self._source[node]
            if node is ancestor:
                return True
        return False


def _aliased_argument(node: fx.Node) -> fx.Node | None:
    """The tensor argument whose memory the value of ``node`` shares."""
    if node.target is operator.getitem:
        container = node.args[0]
        return container if isinstance(container, fx.Node) else None
    schema = schema_of(node)
    if schema is None:
        return None
    returned = {
        name for value in schema.returns if value.alias_info for name in value.alias_info.before_set
    }
    for argument in schema.arguments:
        if argument.alias_info is not None and returned & argument.alias_info.before_set:
            value = get_argument(node, argument.name)
            if isinstance(value, fx.Node):
                return value
    return None


def written_arguments(node: fx.Node) -> list[fx.Node]:
    """The tensor arguments whose memory a call writes into."""
    schema = schema_of(node)
    if schema is None:
        return []
    values = [
        get_argument(node, argument.name)
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [value for value in values if isinstance(value, fx.Node)]
