"""The original and the small graph run side by side, a node at a time, on the same batches."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from graphprune.graph.aliases import written_arguments


class Walk(fx.Interpreter):
    """One graph on one batch, node by node; values go after their last use."""

    def __init__(self, module: fx.GraphModule, leaves: Sequence[Any]) -> None:
        super().__init__(module)
        self.args_iter = iter(leaves)

    def step(self, node: fx.Node) -> Any:
        """Run the next node; its value is returned and kept until the last node that reads it."""
        with torch.no_grad():
            value = self.env[node] = self.run_node(node)
        for used in self.user_to_last_uses.get(node, []):
            self.env.pop(used, None)
        return value


class Ahead:
    """The original graph, run as far as it is asked to.

    Args:
        module: the original.
        batches: flat inputs of each batch.
    """

    def __init__(self, module: fx.GraphModule, batches: Sequence[Sequence[Any]]) -> None:
        self._walks = [Walk(module, leaves) for leaves in batches]
        self._waiting = [node for node in module.graph.nodes if node.op != "output"][::-1]
        self._values: dict[str, list[Any]] = {}
        self.node = {node.name: node for node in module.graph.nodes}

    def answers(self, name: str) -> list[Any]:
        """What the node of this name gave for each batch; [] where that is no longer known."""
        while name in self.node and name not in self._values and self._waiting:
            node = self._waiting.pop()
            if written_arguments(node):
                self._values.clear()  # some of them may have been written to
            self._values[node.name] = [walk.step(node) for walk in self._walks]
        return self._values.get(name, [])

    def forget(self, name: str) -> None:
        """The small graph has come past the node of this name."""
        self._values.pop(name, None)


@dataclass(frozen=True)
class Span:
    """A node and those after it, up to which the value stays affine in some parameters.

    Attributes:
        nodes: each one the only reader of the one before.
        parameters: what is fitted; read by no other node.
        walks: of the small graph, that have come to the first node.
    """

    nodes: tuple[fx.Node, ...]
    parameters: tuple[fx.Node, ...]
    walks: tuple[Walk, ...]

    @property
    def start(self) -> list[torch.Tensor]:
        """The parameters themselves, as they are now."""
        return [self.walks[0].env[parameter] for parameter in self.parameters]

    @property
    def end(self) -> fx.Node:
        """The last node."""
        return self.nodes[-1]

    def __call__(self, batch: int, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Value of the last node on one batch, with these parameters."""
        known = ChainMap({}, dict(zip(self.parameters, values, strict=True)), self.walks[batch].env)
        for node in self.nodes:
            known[node] = call(node, known)
        answer: torch.Tensor = known[self.end]
        return answer


def call(node: fx.Node, known: Mapping[fx.Node, Any]) -> Any:
    """Call a node's operation on known values; what it would write to is copied first."""
    written = written_arguments(node)

    def value_of(source: fx.Node) -> Any:
        return known[source].clone() if source in written else known[source]

    target: Any = node.target
    args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), value_of)
    return target(*args, **kwargs)


def next_in_span(node: fx.Node, known: Mapping[fx.Node, Any]) -> fx.Node | None:
    """The node's only reader, if all else that it reads is known; None where a span must end.

    Args:
        node: of the small graph.
        known: values of other nodes.
    """
    if len(node.users) != 1:
        return None
    reader = next(iter(node.users))
    others = [n for n in reader.all_input_nodes if n is not node]
    if reader.op != "call_function" or not all(n in known for n in others):
        return None
    if any(written is not node for written in written_arguments(reader)):
        return None
    between = node.next
    while between is not reader:
        if written_arguments(between):
            return None  # it may write to what the reader reads
        between = between.next
    return reader
