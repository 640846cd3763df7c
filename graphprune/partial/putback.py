"""Putting a small part back into the user's model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.errors import GraphpruneError, ModelError
from graphprune.graph.values import set_tensor
from graphprune.into.apply import apply
from graphprune.io.text import one_line
from graphprune.partial.calls import serves
from graphprune.partial.observe import own_tensors
from graphprune.partial.parts import Part

CLASS = "class"
GRAPH = "graph"


class PartGraph(nn.Module):
    """A small graph in the place of a submodule; takes the shapes it was captured for, no others.

    Args:
        name: of the submodule, for the error.
        captured: the small graph; its batch may vary where the capture left it free.
    """

    def __init__(self, name: str, captured: Captured) -> None:
        super().__init__()
        self.graph = captured.module
        self._name = name
        self._captured = captured

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the submodule's.

        Raises:
            ModelError: shapes that the graph was not captured for.
        """
        if not serves(self._captured, (args, kwargs)):
            raise ModelError(
                f"{self._name} was pruned as a fixed graph, which takes the shapes of the example "
                "inputs only; compress the model again with inputs of this shape"
            )
        return self.graph(*args, **kwargs)


def put_back(model: nn.Module, part: Part, small: Captured) -> tuple[str, str]:
    """Replace a part of ``model``, in place, by its small version.

    The user's own class is shrunk where that can be proved; it goes on taking any shape it took
    before. Else the small graph takes its place, if all of the model's calls have one shape.

    Args:
        model: the model to change; on an error its part is as it was.
        part: of the model that ``model`` is a copy of.
        small: the shrunk first graph of the part.

    Returns:
        How (:data:`CLASS` or :data:`GRAPH`), and why not in its own class ("" if it is).

    Raises:
        ModelError: neither is possible; says why.
    """
    try:
        shrink_class(model.get_submodule(part.name), small, part.analyses[0], part.exposed)
    except GraphpruneError as error:
        why = one_line(error)
    else:
        return CLASS, ""
    if len(part.graphs) > 1:
        raise ModelError(
            f"its class cannot be shrunk ({why}), and a graph in its place would have to take "
            f"{len(part.graphs)} unlike shapes"
        )
    place_graph(model, part.name, small, part.exposed)
    return GRAPH, why


def shrink_class(
    module: nn.Module, small: Captured, analysis: Analysis, exposed: Collection[str]
) -> None:
    """Shrink a part of the user's class in place, see :func:`graphprune.into.apply.apply`.

    Args:
        module: the part.
        small: its small graph.
        analysis: of its graph before.
        exposed: names of tensors that others may look at, which the plan leaves as they are.

    Raises:
        UsageError: its forward does not fit the small tensors; it is unchanged.
    """
    held = own_tensors(module)
    memory = {name: held[name].data for name in exposed}
    apply(module, small, analysis)
    for name, data in memory.items():  # the same contents, and the memory that others look at
        held[name].data = data


def place_graph(model: nn.Module, name: str, small: Captured, exposed: Collection[str]) -> None:
    """Put a small graph in the place of the part of this name.

    It uses the very tensors of the part that others may look at (``exposed``).
    """
    originals, names = own_tensors(model.get_submodule(name)), own_tensors(small.module)
    for shared in exposed:
        if shared in names:
            set_tensor(small.module, shared, originals[shared])
    parent, _, key = name.rpartition(".")
    model.get_submodule(parent).register_module(key, PartGraph(name, small))
