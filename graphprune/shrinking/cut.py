"""Smaller stand-ins for data movement: dimensions that hold no channels are cut to two.

Whether a view or a permutation keeps the order of channels does not depend on how many tokens or
pixels there are beside them, but running it on all of them costs most of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from graphprune.graph.replay import as_outputs, operation
from graphprune.graph.schema import get_argument
from graphprune.graph.values import concrete, concrete_int, shape_of
from graphprune.labels.slots import Labels, Shape

aten = torch.ops.aten

SIZE = 2
"""What is left of a dimension: not 1, which broadcasts and squeezes."""

_WITHOUT_SIZES = (
    aten.permute.default,
    aten.transpose.int,
    aten.t.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.detach.default,
    aten.alias.default,
)
_ALONG_ONE = (
    aten.select.int,
    aten.slice.Tensor,
    aten.narrow.default,
    aten.unbind.int,
    aten.split.Tensor,
    aten.split.sizes,
    aten.split_with_sizes.default,
    aten.chunk.default,
)
_VIEWS = (aten.view.default, aten.reshape.default)
_EXPAND = aten.expand.default


@dataclass(frozen=True)
class Cut:
    """Which dimensions are cut.

    Attributes:
        source: dimensions of the moved tensor.
        sizes: places in the list of sizes that the call is given.
    """

    source: tuple[int, ...]
    sizes: tuple[int, ...] = ()

    def shape(self, shape: Shape) -> Shape:
        """The cut shape of the moved tensor."""
        return tuple(SIZE if dim in self.source else size for dim, size in enumerate(shape))

    def call(self, node: fx.Node, value: torch.Tensor) -> list[torch.Tensor]:
        """Outputs of the call, or of its rewritten form, on a tensor of the cut shape."""
        args: list[Any] = [value, *(_numbers(argument) for argument in node.args[1:])]
        kwargs = {name: _numbers(argument) for name, argument in node.kwargs.items()}
        if self.sizes:
            given = args[1]
            args[1] = [SIZE if place in self.sizes else n for place, n in enumerate(given)]
        return as_outputs(operation(node)(*args, **kwargs))


def _numbers(given: Any) -> Any:
    return concrete(fx.node.map_arg(given, concrete))


def find_cut(node: fx.Node, labels: Labels) -> Cut | None:
    """How a data movement, not yet rewritten, can be tried on less.

    Args:
        node: the call; its first argument is what is moved.
        labels: of that.

    Returns:
        None where it has to be run as it is.
    """
    source = node.args[0]
    assert isinstance(source, fx.Node)
    shape = shape_of(source)
    free = [
        dim
        for dim, size in enumerate(shape)
        if size > SIZE and all(slot.shape[dim] == 1 for slot in labels)
    ]
    if node.target in _WITHOUT_SIZES:
        return Cut(tuple(free))
    if node.target in _ALONG_ONE:
        along = concrete_int(get_argument(node, "dim")) % len(shape)
        return Cut(tuple(dim for dim in free if dim != along))
    if node.target in _VIEWS:
        pairs = [pair for pair in alike(shape, shape_of(node)) if pair[0] in free]
        return Cut(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
    if node.target is _EXPAND:
        made = shape_of(node)
        extra = len(made) - len(shape)
        whole = [dim for dim in free if made[dim + extra] == shape[dim]]
        return Cut(tuple(whole), tuple(dim + extra for dim in whole))
    return None


def alike(before: Sequence[int], after: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of dimensions, one of each shape, that a view takes over as they are."""
    if 0 in before or 0 in after:
        return []
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        start = (i, j)
        left, right = before[i], after[j]
        while left != right:
            if left < right and i + 1 < len(before):
                i += 1
                left *= before[i]
            elif left > right and j + 1 < len(after):
                j += 1
                right *= after[j]
            else:
                return pairs
        if start == (i, j):
            pairs.append(start)
        i, j = i + 1, j + 1
    return pairs
