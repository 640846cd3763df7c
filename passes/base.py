"""What a graph pass is, and how passes are made from text and run one after another.

The contract is torch.fx's own (``PassBase`` and ``PassResult``), so a pass written for torch.fx
works here as it is. torch.fx's ``PassManager`` is not used: it raises bare exceptions and takes a
pass at its word on whether it changed anything.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import ClassVar

from torch import fx
from torch.fx.passes.infra.pass_base import PassBase, PassResult

from graphprune.errors import GraphpruneError, PassError, UsageError
from graphprune.graph.snapshot import Snapshot
from graphprune.io.text import one_line, reason
from graphprune.options import Spec, build
from graphprune.registry import PASSES


class GraphPass(PassBase):
    """Base of graphprune's passes: a frozen dataclass with a ``name``, whose fields are options.

    ::

        @dataclass(frozen=True)
        class MergeRelus(GraphPass):
            name: ClassVar[str] = "merge-relus"
            limit: int | None = None

            def call(self, graph_module): ...

    ``requires`` and ``ensures`` may be overridden to check the graph before and after; they raise
    :class:`graphprune.errors.PassError` or any other exception to refuse it.
    """

    name: ClassVar[str]
    recompiles: ClassVar[bool] = False
    """Whether ``call`` itself recompiles what it has changed, so that nobody else needs to."""

    @abc.abstractmethod
    def call(self, graph_module: fx.GraphModule) -> PassResult | None:
        """Rewrite ``graph_module``, in place or as a new module.

        Returns:
            The module and whether anything was changed: graph, parameters, buffers or training
            flags. ``modified=False`` must be the truth, and the module then the very one that
            came in. None stands for a rewrite in place.
        """


def pass_name(pass_: PassBase) -> str:
    """The name of ``pass_``; that of its class where it has none, as with plain torch.fx passes."""
    name = getattr(pass_, "name", None)
    return name if isinstance(name, str) else type(pass_).__name__


def finished(graph_module: fx.GraphModule, modified: bool) -> PassResult:
    """What a pass returns that rewrote in place: with the graph checked and its code made anew."""
    if modified:
        graph_module.graph.lint()
        graph_module.recompile()
    return PassResult(graph_module, modified)


def make_pass(text: str) -> PassBase:
    """The pass that ``text`` asks for: ``name``, ``name{option=value,...}`` or
    ``package.module:Class{...}``.

    Raises:
        UsageError: the text is malformed, names no pass, or its options do not fit.
    """
    spec = Spec.parse(text)
    loaded = PASSES.load(spec.name)
    if isinstance(loaded, PassBase):
        if spec.options:
            raise UsageError(f"{spec.name} is a finished pass and takes no options")
        return loaded
    if not (isinstance(loaded, type) and issubclass(loaded, PassBase)):
        raise UsageError(
            f"{spec.name} is not a graph pass; derive it from graphprune.passes.GraphPass "
            "or torch.fx.passes.infra.pass_base.PassBase"
        )
    made: PassBase = build(loaded, spec)
    return made


def run_passes(graph_module: fx.GraphModule, passes: Iterable[PassBase]) -> PassResult:
    """Run ``passes`` in order, checking the graph after each.

    After a pass the graph is linted and, where it was changed, recompiled. Whether it was changed
    is found by comparing, not by asking the pass; one that denies a change it made is refused.

    Args:
        graph_module: what to rewrite; passes may do so in place.
        passes: instances, run from first to last.

    Returns:
        The last pass's module, and whether any pass changed anything.

    Raises:
        PassError: a pass failed, broke the graph or denied its change; the message names it and
            the passes that ran before it. The module may be left half rewritten.
    """
    modified = False
    done: list[str] = []
    for pass_ in passes:
        name = pass_name(pass_)
        try:
            result = _run_one(graph_module, pass_)
        except Exception as error:  # a pass may be anyone's code
            before = f"after {', '.join(done)}" if done else "as the first pass"
            why = one_line(error) if isinstance(error, GraphpruneError) else reason(error)
            raise PassError(f"pass {name!r}, run {before}, failed: {why}") from error
        graph_module = result.graph_module
        modified = modified or result.modified
        done.append(name)
    return PassResult(graph_module, modified)


def _run_one(graph_module: fx.GraphModule, pass_: PassBase) -> PassResult:
    before = Snapshot.take(graph_module)
    result = pass_(graph_module)
    if result is not None and not isinstance(result, PassResult):
        raise PassError(f"it returned a {type(result).__name__}, not a PassResult")
    after_module = graph_module if result is None else result.graph_module
    if not isinstance(after_module, fx.GraphModule):
        raise PassError(f"its result holds a {type(after_module).__name__}, not a GraphModule")
    changes = before.changes_to(Snapshot.take(after_module))
    if changes and result is not None and not result.modified:
        raise PassError(f"it reports no change, but changed {', '.join(changes[:3])}")
    after_module.graph.lint()
    if changes and not getattr(pass_, "recompiles", False):
        after_module.recompile()
    return PassResult(after_module, bool(changes))
