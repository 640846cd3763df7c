"""Rewriting a graph for what is kept: sizes baked into calls, and proof that views still fit."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from graphprune.errors import PassError
from graphprune.graph.replay import replay_movement
from graphprune.graph.schema import get_argument
from graphprune.graph.values import is_tensor, shape_of
from graphprune.labels.slots import Labels, Shape, varying
from graphprune.rules.context import Context
from graphprune.rules.table import find_rule
from graphprune.shrinking.cut import find_cut
from graphprune.shrinking.keep import Keep


class Rewriter:
    """What rewrite rules may ask: sizes before and after, positions kept.

    Args:
        context: labels of the original graph.
        keep: which channels stay.
        originals: original node by name; the rewritten graph has the same names.
    """

    def __init__(self, context: Context, keep: Keep, originals: dict[str, fx.Node]) -> None:
        self.context = context
        self.keep = keep
        self.originals = originals
        self.constants: dict[str, torch.Tensor] = {}
        """New values of constants that hold positions, by name."""

    def labels(self, node: fx.Node) -> Labels:
        """Labels of a node of the rewritten graph."""
        return self.context.of(self.originals[node.name])

    def shapes(self, node: fx.Node) -> tuple[Shape, Shape]:
        """Shape of a node's value before and after."""
        old = shape_of(self.originals[node.name])
        return old, self.keep.shape(self.labels(node), old)

    def shrinks(self, node: fx.Node) -> bool:
        """Whether the node's value loses anything."""
        old, new = self.shapes(node) if is_tensor(node) else ((), ())
        return old != new

    def rows_kept(self, node: fx.Node, dim: int, rows: int) -> int:
        """Of how many of the ``rows`` equal parts of dimension ``dim`` something is kept."""
        shape = shape_of(self.originals[node.name])
        dim %= len(shape)
        mask = self.keep.mask(self.labels(node), shape)
        if mask.shape[dim] == 1:
            return rows
        parts = mask.unflatten(dim, (rows, -1)).movedim(dim, 0)
        return int(parts.reshape(rows, -1).any(1).sum())

    def scaled(self, node: fx.Node, name: str, old: int, new: int) -> Any:
        """What an argument that was ``old`` becomes; of a symbolic one the same share remains."""
        given = get_argument(node, name)
        if not isinstance(given, fx.Node):
            return new
        common = math.gcd(old, new)
        for step, factor in ((operator.mul, new // common), (operator.floordiv, old // common)):
            value = step(given.meta["val"], factor)
            with node.graph.inserting_before(node):
                given = node.graph.call_function(step, (given, factor))
            given.meta["val"] = value
            self.originals[given.name] = given  # a number has nothing to lose
        return given

    def kept_positions(self, node: fx.Node, dim: int) -> list[int]:
        """Positions along ``dim`` that are kept, the same in every row.

        Raises:
            NotRectangularError: rows keep different ones.
        """
        size = shape_of(self.originals[node.name])[dim]
        before = self.count_before(node, dim)
        return [place for place in range(size) if before(place + 1) > before(place)]

    def count_before(self, node: fx.Node, dim: int) -> Callable[[int], int]:
        """See :meth:`graphprune.shrinking.keep.Keep.count_before`."""
        return self.keep.count_before(self.labels(node), shape_of(self.originals[node.name]), dim)


def rewrite_graph(graph: fx.Graph, rewriter: Rewriter) -> list[fx.Node]:
    """Apply every rule's rewrite to a copy of the analysed graph; returns the nodes changed."""
    return [node for node in graph.nodes if rewrite_node(rewriter, node)]


def rewrite_node(rewriter: Rewriter, node: fx.Node) -> bool:
    """Apply the rewrite of one node's rule; whether it changed anything."""
    rule = find_rule(node.target) if node.op == "call_function" else None
    if rule is None or rule.rewrite is None:
        return False
    before = (node.target, node.args, node.kwargs)
    rule.rewrite(rewriter, node)
    return before != (node.target, node.args, node.kwargs)


def misplaced(node: fx.Node, rewriter: Rewriter) -> bool:
    """Whether a rewritten data movement would put kept channels in another order.

    Every view, permute, split … of a tensor labelled along several dimensions is run once more, on
    the positions of what is kept, and must yield the positions of what is kept of its result.
    """
    if node.op != "call_function":
        return False
    original = rewriter.originals[node.name]
    rule = find_rule(original.target)
    source = node.args[0] if node.args else None
    if rule is None or not rule.moves or not isinstance(source, fx.Node):
        return False
    given = rewriter.originals[source.name]
    met = (*all_labels(rewriter.context, original), *rewriter.context.of(given))
    wide = any(len(varying(slot)) > 1 for slot in met)
    return wide and not _agrees(rewriter, node, original, source, given)


def all_labels(context: Context, node: fx.Node) -> Labels:
    """Labels of all of a node's outputs."""
    found = context.labels.get(node, ())
    return tuple(s for labels in found for s in labels) if isinstance(found, list) else found


def _agrees(
    rewriter: Rewriter, node: fx.Node, original: fx.Node, source: fx.Node, given: fx.Node
) -> bool:
    found = rewriter.context.labels.get(original, ())
    labels = found if isinstance(found, list) else [found]
    moved = rewriter.context.of(given)
    cut = find_cut(original, moved)
    shape = shape_of(given) if cut is None else cut.shape(shape_of(given))
    # Positions tell every element from every other, which labels do not.
    count = torch.Size(shape).numel()
    kind = torch.int32 if count <= torch.iinfo(torch.int32).max else torch.int64
    marks = torch.arange(count, dtype=kind).reshape(shape)
    kept = rewriter.keep.take(marks, moved)
    if cut is None:
        expected = replay_movement(original, given, marks)
        actual = replay_movement(node, source, kept, lambda other: rewriter.shapes(other)[1])
    else:
        expected, actual = cut.call(original, marks), cut.call(node, kept)
    return all(
        torch.equal(rewriter.keep.take(whole, one), part)
        for whole, part, one in zip(expected, actual, labels, strict=True)
    )


def retrace_shapes(module: fx.GraphModule) -> None:
    """Recompute every node's fake value after a rewrite.

    Raises:
        PassError: the rewritten graph does not fit together.
    """
    from torch._dispatch.python import enable_python_dispatcher
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    inputs = [node.meta["val"] for node in module.graph.find_nodes(op="placeholder")]
    modes = [v.fake_mode for v in inputs if isinstance(v, torch._subclasses.FakeTensor)]
    mode = modes[0] if modes else torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)
    try:
        # Some operators know symbolic sizes only through the decompositions that this adds.
        with torch.no_grad(), enable_python_dispatcher():
            FakeTensorProp(module, mode).propagate_dont_convert_inputs(*inputs)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise PassError(f"the rewritten graph does not fit together: {reason}") from error
