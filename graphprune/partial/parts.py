"""Choosing the parts: the largest submodules that torch.export can capture."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.errors import GraphpruneError
from graphprune.graph.trees import Inputs
from graphprune.partial.calls import Calls, serves, with_rows
from graphprune.partial.expose import expose
from graphprune.partial.lively import lively
from graphprune.partial.observe import observe, read_outside

NOT_CALLED = "it is not called as a module while the model runs"


@dataclass(frozen=True)
class Part:
    """A submodule that was captured.

    Attributes:
        name: its qualified name in the model.
        graphs: one for each unlike call; the first is planned on, the others are checked.
        analyses: of these graphs, with what is read from outside held in place.
        exposed: names within the part of tensors that something outside of it reads.
        calls: how the model calls it.
    """

    name: str
    graphs: tuple[Captured, ...]
    analyses: tuple[Analysis, ...]
    exposed: frozenset[str]
    calls: Calls


@dataclass
class Found:
    """What a model consists of.

    Attributes:
        parts: captured submodules that have channels to remove, in the order of the model.
        left: submodules left alone, by name, and why; the deepest ones that were looked at.
    """

    parts: list[Part] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


@dataclass
class _Search:
    """Where the walk down the module tree stands."""

    graphs: dict[str, tuple[Captured, ...]] = field(default_factory=dict)
    calls: dict[str, Calls] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    covered: set[int] = field(default_factory=set)


def find_parts(
    model: nn.Module,
    inputs: Inputs,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Found:
    """Walk the module tree from the top; what can be captured is taken, the rest is descended into.

    A submodule counts as captured only if every unlike call of one eager run (at most
    :data:`graphprune.partial.observe.MOST_SIGNATURES` of them) can be.

    Args:
        model: in evaluation mode; it is run, so a copy should be given.
        inputs: ``(args, kwargs)`` of one call.
        seed: of models that sample.
        progress: called with the name of each submodule that is tried.
    """
    search = _Search()
    level = dict(model.named_children())
    while level:
        level = {
            name: module
            for name, module in level.items()
            if id(module) not in search.covered and any(True for _ in module.parameters())
        }
        seen = observe(model, inputs, level, seed)
        below: dict[str, nn.Module] = {}
        for name, module in level.items():
            if id(module) in search.covered:
                continue  # it has two names, or is in a part of this level
            if progress is not None:
                progress(name)
            if not _take(search, name, module, seen[name]):
                below.update((f"{name}.{key}", child) for key, child in module.named_children())
        level = below
    return _analysed(model, inputs, search, seed)


def _take(search: _Search, name: str, module: nn.Module, calls: Calls) -> bool:
    """Capture a submodule for all of its calls; False, with the reason noted, if that fails."""
    if not calls.count:
        search.refused[name] = NOT_CALLED
        return False
    if any(id(inner) in search.covered for inner in module.modules()):
        search.refused[name] = "shares a submodule with another part"
        return False
    graphs: list[Captured] = []
    try:
        for example in map(with_rows, calls.examples):
            if not any(serves(graph, example) for graph in graphs):
                # On a copy: what a module stores of fake tensors would break its later runs.
                graphs.append(lively(capture(copy.deepcopy(module), example)))
    except GraphpruneError as error:
        search.refused[name] = str(error)
        return False
    except Exception as error:  # noqa: BLE001 - copying runs the module's own code
        search.refused[name] = f"{type(error).__name__}: {error}"
        return False
    search.graphs[name], search.calls[name] = tuple(graphs), calls
    search.covered.update(id(inner) for inner in module.modules())
    return True


def _analysed(model: nn.Module, inputs: Inputs, search: _Search, seed: int) -> Found:
    modules = {name: model.get_submodule(name) for name in search.graphs}
    outside = read_outside(model, inputs, modules, seed)
    found = Found()
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    for name in sorted(search.graphs, key=names.index):
        graphs, exposed = search.graphs[name], outside[name]
        try:
            analyses = tuple(analyse(expose(graph, exposed)) for graph in graphs)
        except GraphpruneError as error:
            found.left[name] = str(error)
            continue
        if not analyses[0].groups:
            found.left[name] = "no channel begins and ends within it"
            continue
        found.parts.append(Part(name, graphs, analyses, exposed, search.calls[name]))
    for name, why in _not_covered(model, search):
        found.left[name] = why
    return found


def _not_covered(model: nn.Module, search: _Search) -> Iterator[tuple[str, str]]:
    """Refused submodules that hold parameters of their own."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, why in search.refused.items():
        if any(True for _ in modules[name].parameters(recurse=False)):
            yield name, why
