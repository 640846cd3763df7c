"""Tables that are read as they stand bring their channels forth themselves.

``self.table[rows]`` is data movement, not a product, so no rule names a producer of its columns.
Where they meet no other producer either (matrix factorisation), they would form no channel group.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import fx

from graphprune.analysis.forming import free_classes
from graphprune.labels.slots import NONE, Slot

if TYPE_CHECKING:
    from graphprune.analysis.groups import Analysis


def table_producers(analysis: Analysis) -> list[tuple[fx.Node, Slot]]:
    """(node, slot) of each parameter with free channels that nothing else brings forth.

    A parameter of one value a channel is a scale or a shift of something, and one that is only
    multiplied with is a weight of what a constant brings forth; neither is a table.
    """
    linked = _linked(analysis)
    parameters = {name for name, _ in analysis.module.named_parameters(remove_duplicate=False)}
    found = []
    for node in analysis.module.graph.find_nodes(op="get_attr"):
        if node.target not in parameters or node.users.keys() <= analysis.context.products.keys():
            continue
        for slot in analysis.context.of(node):
            classes = analysis.slot_classes(slot)
            own = (classes != NONE) & ~analysis.pinned_classes[classes] & ~linked[classes]
            if own.any() and node.meta["val"].numel() > slot.numel():
                found.append((node, slot.where(torch.from_numpy(own), NONE)))
    return found


def _linked(analysis: Analysis) -> np.ndarray:
    """Bool by class: what a producer or a constant brings forth, or units of removal hold."""
    linked = np.zeros(analysis.classes, dtype=bool)
    buffers = (
        analysis.leaves[name][0]
        for name, _ in analysis.module.named_buffers()
        if name in analysis.leaves
    )
    produced = [slot for _, slot in analysis.context.producers]
    for slot in itertools.chain(produced, *buffers):
        linked[free_classes(analysis, slot)] = True
    for block in analysis.settled.blocks:
        for cell in block.cells:
            linked[np.array(cell)] = True
    for row in analysis.settled.row_units:
        linked[np.array(row)] = True
    return linked
