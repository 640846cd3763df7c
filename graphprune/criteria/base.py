"""What a criterion is, and the gathering of a group's weights that criteria share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from graphprune.channels import ChannelGroup
from graphprune.errors import ModelError
from graphprune.groups import Analysis
from graphprune.labels.slots import Slot
from graphprune.values import get_tensor


class Criterion(Protocol):
    """Scores channels: ``name`` and ``score``. Plug-ins need no more than these two."""

    name: str

    def score(self, analysis: Analysis, seed: int) -> dict[str, torch.Tensor]:
        """By group name, importance of its channels: float, shape (D,); larger stays longer."""


def positions(analysis: Analysis, group: ChannelGroup, slot: Slot) -> torch.Tensor:
    """Channel number in the group of each element of a slot, -1 for others; the slot's shape."""
    lookup = torch.full((analysis.classes + 1,), -1, dtype=torch.int64)
    lookup[torch.from_numpy(group.channels)] = torch.arange(group.size)
    return lookup[torch.from_numpy(analysis.slot_classes(slot))]


def weights_by_channel(
    analysis: Analysis, group: ChannelGroup
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every trainable tensor of the group with the channel number of each of its elements.

    Yields:
        (values, channels): the detached parameter, and int64 channel numbers that broadcast
        against it, -1 where an element belongs to no channel of the group.

    Raises:
        ModelError: a parameter is on the meta device and has no values.
    """
    names = dict.fromkeys(member.parameter for member in group.members)
    seen: set[int] = set()
    for name in names:
        tensor = get_tensor(analysis.module, name)
        if id(tensor) in seen or not isinstance(tensor, torch.nn.Parameter):
            continue
        seen.add(id(tensor))
        if tensor.is_meta:
            raise ModelError(
                f"{name} has no values to weigh (it is on the meta device); "
                "load the weights first, or use --method random"
            )
        for slot in analysis.leaves[name][0]:
            channels = positions(analysis, group, slot)
            if bool((channels >= 0).any()):
                yield tensor.detach(), channels
