"""Where in a graph the activations of a channel group can be scaled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class SwitchSite:
    """One place where a switch multiplies activations.

    After the node named ``node`` its value is multiplied by ``scale[group][index]``.

    Attributes:
        node: name of the graph node whose value is scaled.
        group: name of the channel group, the key of its scale vector.
        index: int64, broadcasts against the node's value: as many dimensions, size 1 on those along
            which it is constant, among them all that grow with the batch. Where each example has
            scales of its own dimension 0 is the batch and of size 1. An element -1 belongs to no
            channel of the group and is left as it is.
    """

    node: str
    group: str
    index: torch.Tensor


def group_sizes(sites: Iterable[SwitchSite]) -> dict[str, int]:
    """Number of channels of each group, in the order of first appearance.

    It is the largest index met plus one: every channel of a group appears at some site of it.
    """
    sizes: dict[str, int] = {}
    for site in sites:
        size = int(site.index.max()) + 1
        sizes[site.group] = max(size, sizes.get(site.group, 0))
    return sizes
