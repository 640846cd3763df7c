"""Looking at the activations of channel groups where they are read, while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx, nn

from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import positions
from graphprune.labels.lengths import slot_at

Note = Callable[[torch.Tensor], None]
_WATCHERS = "watchers"


@dataclass(frozen=True, eq=False)
class Place:
    """A value that a contraction reads, and where in it a group's channels lie.

    Attributes:
        node: name of the graph node with that value.
        group: name of the group.
        size: its number of channels.
        index: int64, broadcasts against the value as it was captured; -1 where an element belongs
            to none of them.
        like: the value as it was captured, fake.
    """

    node: str
    group: str
    size: int
    index: torch.Tensor
    like: torch.Tensor

    def at(self, shape: torch.Size) -> torch.Tensor | None:
        """The index where the value has this shape, for another batch; None if not known."""
        return slot_at(self.index, self.like, shape)


class _Watcher(nn.Module):
    def __init__(self, note: Note) -> None:
        super().__init__()
        self._note = note

    def forward(self, value: torch.Tensor) -> None:
        """At once: the value may be changed in place afterwards."""
        self._note(value.detach())


def reading_places(analysis: Analysis) -> list[Place]:
    """Every place where a contraction reads channels of a group, each value once.

    There they are as the consumers see them: behind nonlinearities, normalisations and sums. Of a
    group that no contraction reads, places where its channels are summed up.
    """
    moving = depending_on_inputs(analysis.module.graph)
    places = _places(analysis, analysis.context.products, moving)
    unread = {group.name for group in analysis.groups} - {place.group for place in places}
    if unread:
        sums = [node for node in analysis.module.graph.nodes if _sums(analysis, node)]
        places += [p for p in _places(analysis, sums, moving) if p.group in unread]
    return places


def _places(analysis: Analysis, readers: Iterable[fx.Node], moving: set[fx.Node]) -> list[Place]:
    read = {arg: None for node in readers for arg in node.all_input_nodes if arg in moving}
    places = []
    for node in read:
        for slot in analysis.context.of(node):
            for number in np.unique(analysis.group_of_class[analysis.slot_classes(slot)]).tolist():
                if number >= 0:
                    group = analysis.groups[number]
                    index = positions(analysis, group, slot)
                    like = node.meta["val"]
                    places.append(Place(node.name, group.name, group.size, index, like))
    return places


def _sums(analysis: Analysis, node: fx.Node) -> bool:
    """Whether labels end at a call: products may be summed up by a call of their own."""
    after = len(analysis.context.of(node))
    return node.op == "call_function" and any(
        len(analysis.context.of(argument)) > after for argument in node.all_input_nodes
    )


def watch(module: fx.GraphModule, notes: Mapping[str, Note]) -> None:
    """Change the module so that each node named calls its note with its value (in place)."""
    nodes = {node.name: node for node in module.graph.nodes}
    module.add_submodule(_WATCHERS, nn.ModuleDict())
    for name, note in notes.items():
        target = f"{_WATCHERS}.of_{name}"  # a node may be named like a method: values
        module.add_submodule(target, _Watcher(note))
        with module.graph.inserting_after(nodes[name]):
            module.graph.call_module(target, (nodes[name],))
    module.recompile()


def depending_on_inputs(graph: fx.Graph) -> set[fx.Node]:
    """Nodes whose values change with the model's inputs."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found
