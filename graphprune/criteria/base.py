"""What a criterion is, what it may go by, and the gathering of a group's weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.errors import ModelError, UsageError
from graphprune.graph.values import get_tensor
from graphprune.io.loss import Loss
from graphprune.labels.slots import Slot
from graphprune.progress import Progress
from graphprune.training.devices import Batch


@dataclass(frozen=True)
class Evidence:
    """All that a criterion may go by. Criteria of weights alone need no more than ``analysis``.

    Attributes:
        analysis: of the captured graph; its ``module`` holds the weights.
        captured: the model, to be run on data.
        data: batches ``(inputs, target or None)``, None where none were given.
        loss: the user's ``loss(output, target)``, None for the default.
        seed: of everything random.
        progress: see :mod:`graphprune.progress`.
        notes: lines for the user, added by :meth:`note`.
    """

    analysis: Analysis
    captured: Captured | None = None
    data: Iterable[Batch] | None = None
    loss: Loss | None = None
    seed: int = 0
    progress: Progress | None = None
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Tell the user something, in one line."""
        self.notes.append(text)


class Criterion(Protocol):
    """Scores channels: ``name`` and ``score``. Plug-ins need no more than these two.

    One that cannot do without data says so with a class attribute ``needs_data = True``, and is
    then never called without ``evidence.captured`` and ``evidence.data``.
    """

    name: str

    def score(self, evidence: Evidence) -> dict[str, torch.Tensor]:
        """By group name, importance of its channels: float, shape (D,); larger stays longer."""


def needs_data(method: object) -> bool:
    """Whether a criterion (or its class) has to be given data."""
    return bool(getattr(method, "needs_data", False))


def check_batches(batches: int | None, name: str) -> None:
    """Refuse a number of batches that leaves nothing to measure on.

    Raises:
        UsageError: it is below 1; ``name`` is the criterion's.
    """
    if batches is not None and batches < 1:
        raise UsageError(f"batches of {name} must be at least 1, got {batches}")


def given_data(evidence: Evidence, name: str) -> tuple[Captured, Iterable[Batch]]:
    """The model and the data.

    Raises:
        UsageError: there are none; ``name`` is the criterion that asks.
    """
    if evidence.captured is None or evidence.data is None:
        raise UsageError(
            f"method {name} measures on data; give --data (data=), or use l2, l1 or random"
        )
    return evidence.captured, evidence.data


def positions(analysis: Analysis, group: ChannelGroup, slot: Slot) -> torch.Tensor:
    """Channel number in the group of each element of a slot, -1 for others; the slot's shape."""
    lookup = torch.full((analysis.classes + 1,), -1, dtype=torch.int64)
    lookup[torch.from_numpy(group.channels)] = torch.arange(group.size)
    return lookup[torch.from_numpy(analysis.slot_classes(slot))]


def parameters_by_channel(
    analysis: Analysis, group: ChannelGroup
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Every trainable tensor of the group with the channel number of each of its elements.

    Yields:
        (name, values, channels): the qualified name, the detached parameter, and int64 channel
        numbers that broadcast against it, -1 where an element belongs to no channel of the group.
        A tensor that several names share comes once, one that holds the group along several
        dimensions once for each.

    Raises:
        ModelError: a parameter is on the meta device and has no values.
    """
    for name, values in parameters_of(analysis, [group]):
        for slot in analysis.leaves[name][0]:
            channels = positions(analysis, group, slot)
            if bool((channels >= 0).any()):
                yield name, values, channels


def parameters_of(
    analysis: Analysis, groups: Iterable[ChannelGroup]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every trainable tensor that holds channels of these groups, detached, with its first name.

    Raises:
        ModelError: a parameter is on the meta device and has no values.
    """
    names = dict.fromkeys(member.parameter for group in groups for member in group.members)
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
        yield name, tensor.detach()


def weights_by_channel(
    analysis: Analysis, group: ChannelGroup
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """:func:`parameters_by_channel` without the names: (values, channels)."""
    for _, values, channels in parameters_by_channel(analysis, group):
        yield values, channels


def sum_by_channel(values: torch.Tensor, channels: torch.Tensor, size: int) -> torch.Tensor:
    """Sum of the elements of each channel.

    Args:
        values: float, any shape.
        channels: int64 channel numbers that broadcast against ``values``, -1 for none.
        size: number of channels D.

    Returns:
        float64 of shape (D,), on the device of ``values``.
    """
    dims = [dim for dim, n in enumerate(channels.shape) if n == 1 and values.shape[dim] > 1]
    sums = values.sum(dims, keepdim=True) if dims else values
    shape = torch.broadcast_shapes(sums.shape, channels.shape)
    flat = channels.to(values.device).expand(shape).reshape(-1)
    inside = flat >= 0
    total = torch.zeros(size, dtype=torch.float64, device=values.device)
    return total.index_add_(0, flat[inside], sums.expand(shape).reshape(-1)[inside].double())
