"""Reconstruction: what is left of each layer is fitted to what the whole layer answered.

A cut takes channels away from a layer's inputs, and the weights of those that stay can make up for
much of it. Layer by layer, in the order of the graph, a layer's parameters are fitted by least
squares: from the small model's own inputs, the layers before it fitted already, to what the
original answers at the channels that stay. Nothing is trained through the network and no labels are
needed.

Source: Y. He, X. Zhang and J. Sun, "Channel Pruning for Accelerating Very Deep Neural Networks",
ICCV 2017, section 3.1 (eq. 4) and, for branches that are added up, section 3.3. There it is written
for convolutions; here for any operation that is affine in its own parameters. Choices of ours: the
fit stops early instead of being penalised, on batches that it was not fitted to; and it is made at
the farthest value that is still affine in the parameters and read by nothing else on the way (past
a batch norm and an addition), which makes a branch make up for errors of the stream it is added to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.choosing.plan import Plan
from graphprune.errors import DataError, ModelError
from graphprune.graph.aliases import Aliases, written_arguments
from graphprune.graph.values import get_tensor, is_tensor, shape_of
from graphprune.labels.lengths import labels_at
from graphprune.progress import Progress
from graphprune.shrinking.keep import Keep
from graphprune.training.devices import Batch, Runtime, moved, run_module
from graphprune.training.distance import Distance
from graphprune.training.feed import call_arguments, count_examples
from graphprune.training.gradients import learning
from graphprune.training.least_squares import Fit, is_affine, least_squares
from graphprune.training.lockstep import Ahead, Span, Walk, next_in_span

_LARGEST_BYTES = 2**29
"""Batches are left out until the largest value of all of them together takes no more than this."""
_FEWEST = 2
"""Batches that are used all the same: one to fit to, one to judge."""


@dataclass(frozen=True)
class ReconstructConfig:
    """How layers are fitted.

    Attributes:
        batches: how many to use at most; fewer where activations are large. The last quarter
            judges when to stop, and whether the whole model came nearer to the original.
        steps: conjugate-gradient steps for each layer, at most.
    """

    batches: int = 8
    steps: int = 20


@dataclass(frozen=True)
class Reconstruction:
    """What came of it.

    Attributes:
        fits: by name of the node, how well its span fits before and after.
        before: distance of the model's answers from the original's on the batches that judge, as
            :class:`graphprune.training.distance.Distance` measures it.
        after: the same with all layers fitted.
        kept: whether the fitted weights stayed, which they do if they brought the answers nearer.
    """

    fits: dict[str, Fit]
    before: float
    after: float
    kept: bool

    def describe(self) -> str:
        """One line for the user."""
        change = f"squared distance of the answers {self.before:.2g} before, {self.after:.2g}"
        done = f"{len(self.fits)} layers were fitted to the original: {change} after"
        return done if self.kept else f"{done}, so the weights were left as they were cut"


@learning()
def reconstruct(
    small: Captured,
    analysis: Analysis,
    plan: Plan,
    data: Iterable[Batch],
    config: ReconstructConfig | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Fit the small model's parameters, layer by layer and in place, to the original's answers.

    Parameters that are frozen or shared stay as they are, and all do where the answers would come
    no nearer.

    Args:
        small: cut from ``analysis.module`` by ``plan``.
        analysis: of the original graph, whose answers are the aim.
        plan: what was kept.
        data: batches ``(inputs, target)``; targets are not used.
        config: how; None for the defaults.
        progress: told of every layer.

    Raises:
        DataError: there is no data.
        ModelError: the model writes into its own buffers.
    """
    require_stateless(analysis.module)
    config = config or ReconstructConfig()
    inputs = list(islice(_with_room(small, data), config.batches))
    if not inputs:
        raise DataError("there is no data to fit layers to")
    device = Runtime(mixed_precision=False).device
    modules = (small.module, analysis.module)
    with moved(device, *modules):
        # Every process takes the same batches, so that all of them find the same weights.
        inputs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), inputs)
        judging = inputs[-(_judges(len(inputs)) or 1) :]
        cut = [tensor.detach().clone() for tensor in small.module.parameters()]
        before = _distance(*modules, judging)
        fits = _fit_layers(small, (analysis, plan.keep(analysis)), inputs, config.steps, progress)
        after = _distance(*modules, judging)
        if not after < before:
            _restore(small.module, cut)
    return Reconstruction(fits, before, after, kept=after < before)


@torch.no_grad()
def _distance(small: fx.GraphModule, whole: fx.GraphModule, judging: Sequence[Any]) -> float:
    """How far the small model's answers are from the original's over these batches."""
    found = Distance()
    for inputs in judging:
        found.add(run_module(small, inputs), run_module(whole, inputs))
    return found.value()


@torch.no_grad()
def _restore(module: fx.GraphModule, values: Sequence[torch.Tensor]) -> None:
    for tensor, value in zip(module.parameters(), values, strict=True):
        tensor.copy_(value)


def _judges(batches: int) -> int:
    """How many of the batches are kept from the fit."""
    return batches // 4 or batches // 2


def require_stateless(module: fx.GraphModule) -> None:
    """Check that a model can be reconstructed.

    Raises:
        ModelError: it writes into its own buffers, so what it answers depends on earlier calls.
    """
    aliases = Aliases(module.graph)
    for node in module.graph.nodes:
        for written in written_arguments(node):
            root = aliases.root(written)
            if root.op == "get_attr":
                raise ModelError(
                    f"reconstruction runs layers one by one, but the model writes into its own "
                    f"{root.target}; compress it without"
                )


def _with_room(small: Captured, data: Iterable[Batch]) -> Iterator[Any]:
    """The inputs of as many batches as there is room for."""
    captured = count_examples(small, (small.args, small.kwargs))
    largest = max(
        (node.meta["val"].element_size() * math.prod(shape_of(node)))
        for node in small.module.graph.nodes
        if is_tensor(node)
    )
    room = float(_LARGEST_BYTES)
    for number, (inputs, _) in enumerate(data):
        room -= largest / captured * count_examples(small, call_arguments(small, inputs))
        if room < 0 and number >= _FEWEST:
            return
        yield inputs


def _fit_layers(
    small: Captured,
    original: tuple[Analysis, Keep],
    inputs: Sequence[Any],
    steps: int,
    progress: Progress | None,
) -> dict[str, Fit]:
    (analysis, keep), graph = original, small.module.graph
    leaves = [pytree.tree_leaves(call_arguments(small, batch)) for batch in inputs]
    walks = tuple(Walk(small.module, batch) for batch in leaves)
    ahead = Ahead(analysis.module, leaves)
    own = _own_parameters(small.module)
    nodes = [node for node in graph.nodes if node.op != "output"]
    fits: dict[str, Fit] = {}
    fitted: set[fx.Node] = set()
    for done, node in enumerate(nodes):
        if node in own and node not in fitted and (span := _span(node, own, walks, ahead)):
            fitted |= set(span.nodes)
            answers = ahead.answers(span.end.name)
            targets = _kept(answers, ahead.node[span.end.name], analysis, keep)
            if targets and _match(span, targets):
                fits[node.name] = _fit(span, targets, steps)
                if progress is not None:
                    progress("reconstruct", done, len(nodes), {"error": fits[node.name].after})
        for walk in walks:
            walk.step(node)
        ahead.forget(node.name)
    return fits


def _kept(
    answers: Sequence[torch.Tensor], node: fx.Node, analysis: Analysis, keep: Keep
) -> list[torch.Tensor]:
    """What the original answered at the channels that stay; [] where they cannot be told apart."""
    labels, value = analysis.context.of(node), node.meta["val"]
    at_size = [labels_at(labels, value, whole.shape) for whole in answers]
    found = zip(answers, at_size, strict=True)
    return [] if None in at_size else [keep.take(whole, at or ()) for whole, at in found]


def _own_parameters(small: fx.GraphModule) -> dict[fx.Node, tuple[fx.Node, ...]]:
    """By node: the parameters to be fitted there, which nothing else reads."""
    nodes = small.graph.find_nodes(op="get_attr")
    tensors = {node: get_tensor(small, str(node.target)) for node in nodes}
    times = Counter(id(tensor) for tensor in tensors.values())
    found: dict[fx.Node, tuple[fx.Node, ...]] = {}
    for node, tensor in tensors.items():
        free = isinstance(tensor, nn.Parameter) and tensor.requires_grad
        if free and len(node.users) == 1 and times[id(tensor)] == 1:
            reader = next(iter(node.users))
            found[reader] = (*found.get(reader, ()), node)
    return {
        node: own for node, own in found.items() if is_tensor(node) and not written_arguments(node)
    }


def _span(
    node: fx.Node,
    own: Mapping[fx.Node, tuple[fx.Node, ...]],
    walks: tuple[Walk, ...],
    ahead: Ahead,
) -> Span | None:
    """The longest span from this node on that the original has too; None where there is none.

    What is affine in the first node's parameters is fitted in those of the others too that leave
    it so: a batch norm's shift, but not its scale.
    """
    span = _affine(Span((node,), own[node], walks))
    while span is not None and (reader := next_in_span(span.end, walks[0].env)) is not None:
        if reader.name not in ahead.node or not is_tensor(reader):
            break
        longer = _affine(replace(span, nodes=(*span.nodes, reader)))
        if longer is None:
            break
        span = longer
        for parameter in own.get(reader, ()):
            more = replace(span, parameters=(*span.parameters, parameter))
            span = _affine(more) or span
    return span if node.name in ahead.node else None


def _affine(span: Span) -> Span | None:
    """The span if it is one."""
    return span if is_affine(partial(span, 0), span.start) else None


def _match(span: Span, targets: Sequence[torch.Tensor]) -> bool:
    """Whether the two models give values of one shape: an expert may get other examples now."""
    with torch.no_grad():
        return all(span(b, span.start).shape == t.shape for b, t in enumerate(targets))


def _fit(span: Span, targets: Sequence[torch.Tensor], steps: int) -> Fit:
    """Fit and put the values found into the small model."""
    found = least_squares(span, span.start, targets, _judges(len(targets)), steps)
    with torch.no_grad():
        for tensor, value in zip(span.start, found.values, strict=True):
            tensor.copy_(value)
    return found
