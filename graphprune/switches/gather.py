"""Graph nodes that lay a group's scale vector out in the shape of a value."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx

aten = torch.ops.aten


class ScaleGatherer:
    """Builds ``scale[index]`` as graph nodes, sharing what several sites have in common.

    A plain run of all channels along one dimension is only a view. Anything else is one
    ``index_select``, on the scale with a 1 appended where the index holds -1. Nodes accept scales
    of shape (D,) and, for values laid out by batch, (B, D) alike.
    """

    def __init__(
        self, owner: fx.GraphModule, scales: Mapping[str, fx.Node], sizes: Mapping[str, int]
    ) -> None:
        """``scales`` holds each group's scale node, ``sizes`` the number D of its channels."""
        self._owner = owner
        self._graph = owner.graph
        self._scales = scales
        self._sizes = sizes
        self._extended: dict[str, fx.Node] = {}
        self._selected: dict[tuple[str, bytes], fx.Node] = {}

    def gather(self, group: str, index: torch.Tensor, *, before: fx.Node, batched: bool) -> fx.Node:
        """The scale in the shape of ``index``.

        Args:
            group: whose scale.
            index: int64 channel numbers, -1 for a scale of 1.
            before: the node ahead of which the value is needed.
            batched: dimension 0 of ``index`` (size 1) is the batch; a (B, D) scale then gives
                (B, *index.shape[1:]). If false, only a (D,) scale will do.
        """
        flat = self._select(group, index.flatten())
        if index.ndim <= 1 and not batched:
            return flat
        shape = [-1, *index.shape[1:]] if batched else list(index.shape)
        with self._graph.inserting_before(before):
            return self._graph.call_function(aten.view.default, (flat, shape))

    def _select(self, group: str, index: torch.Tensor) -> fx.Node:
        """``scale[..., index]``, placed right behind the scale so that every site can share it."""
        key = (group, index.numpy().tobytes())
        if key not in self._selected:
            self._selected[key] = self._build(group, index)
        return self._selected[key]

    def _build(self, group: str, index: torch.Tensor) -> fx.Node:
        scale = self._scales[group]
        size = self._sizes[group]
        if index.numel() == size and torch.equal(index, torch.arange(size)):
            return scale
        source = scale
        if bool((index < 0).any()):
            source = self._with_one(group)
            index = torch.where(index < 0, size, index)
        with self._graph.inserting_after(source):
            attribute = self._graph.get_attr(self._constant(index))
        with self._graph.inserting_after(attribute):
            return self._graph.call_function(aten.index_select.default, (source, -1, attribute))

    def _with_one(self, group: str) -> fx.Node:
        if group not in self._extended:
            scale = self._scales[group]
            with self._graph.inserting_after(scale):
                self._extended[group] = self._graph.call_function(
                    aten.constant_pad_nd.default, (scale, [0, 1], 1.0)
                )
        return self._extended[group]

    def _constant(self, index: torch.Tensor) -> str:
        name = f"_switch_index_{len(self._selected)}"
        self._owner.register_buffer(name, index.clone(), persistent=False)
        return name


def laid_out(scale: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """``scale[index]`` with 1 where the index holds -1: (D,) in the shape of ``index``."""
    return torch.cat([scale, scale.new_ones(1)])[index]
