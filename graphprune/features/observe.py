"""Running the captured model on examples and keeping what the channels asked for answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.criteria.base import sum_by_channel
from graphprune.criteria.watch import Place, watch
from graphprune.errors import DataError
from graphprune.features.channel import Part, channel_part
from graphprune.features.examples import Example, fixed_batch
from graphprune.features.places import View
from graphprune.features.result import Activation
from graphprune.graph.graphmodule import frozen
from graphprune.io.text import reason
from graphprune.labels.lengths import slot_at
from graphprune.progress import Progress
from graphprune.training.devices import Runtime, move

Seen = dict[tuple[str, int], Activation]

# A value this small beside the largest of its tensor is as good as zero.
NEGLIGIBLE = 1e-6

_NOWHERE = Part(torch.zeros(0), ("places",))
"""Where channels lie at a batch of another size that nobody can tell."""


def observe(
    captured: Captured,
    examples: Sequence[Example],
    views: Mapping[str, View],
    channels: Mapping[str, Sequence[int]],
    progress: Progress | None = None,
) -> list[Seen]:
    """Activations of some channels, example by example.

    Args:
        captured: the model; it stays as it is.
        examples: what it is run on.
        views: places by group name.
        channels: numbers of the channels wanted, by group name.
        progress: called with the stage ``features``.

    Returns:
        For each example, by group name and channel number, what was seen.

    Raises:
        DataError: the model does not run on an example.
    """
    observer = _Observer(views, channels, fixed_batch(captured))
    module = frozen(captured.module).eval()
    watch(module, observer.notes())
    device = Runtime(mixed_precision=False).device
    move(module, device)
    found = []
    for number, example in enumerate(examples):
        args, kwargs = pytree.tree_map_only(
            torch.Tensor, lambda tensor: tensor.to(device), example.inputs
        )
        try:
            with torch.no_grad():
                module(*args, **kwargs)
        except Exception as error:  # a model may refuse anything
            raise DataError(f"the model does not take {example.name}: {reason(error)}") from error
        found.append(observer.seen())
        if progress is not None:
            progress("features", number + 1, len(examples), {})
    return found


class _Observer:
    """Cuts the channels out of values as they pass by."""

    def __init__(
        self,
        views: Mapping[str, View],
        channels: Mapping[str, Sequence[int]],
        batch: int | None,
    ) -> None:
        self._views = {name: views[name] for name in channels}
        self._channels = channels
        self._batch = batch
        self._shown: Seen = {}
        self._read: dict[tuple[str, int], bool] = {}

    def notes(self) -> dict[str, Callable[[torch.Tensor], None]]:
        """By node, what is to be called with its value."""
        calls: dict[str, list[Callable[[torch.Tensor], None]]] = defaultdict(list)
        for name, view in self._views.items():
            calls[view.node.name].append(partial(self._show, name))
            for place in view.read:
                calls[place.node].append(partial(self._weigh, place))

        def note(value: torch.Tensor, those: list[Callable[[torch.Tensor], None]]) -> None:
            for one in those:
                one(value)

        return {node: partial(note, those=those) for node, those in calls.items()}

    def seen(self) -> Seen:
        """What has passed by since the last call."""
        found = {key: replace(one, unread=self._read.get(key)) for key, one in self._shown.items()}
        self._shown, self._read = {}, {}
        return found

    def _show(self, name: str, value: torch.Tensor) -> None:
        view = self._views[name]
        index = slot_at(view.index, view.node.meta["val"], value.shape)
        copies = self._batch is not None and value.shape[0] == self._batch
        if copies and index is not None and index.shape[0] == 1:
            value = value[:1]
        for channel in self._channels[name]:
            part = channel_part(value, index, channel) if index is not None else _NOWHERE
            self._shown[name, channel] = Activation(
                part.values.numpy(), part.dims, part.inner, part.places
            )

    def _weigh(self, place: Place, value: torch.Tensor) -> None:
        """Note of each channel whether it is zero here, and wherever else it has been read."""
        index = place.at(value.shape)
        if index is None:
            return
        sizes = value.abs().float()
        sums = sum_by_channel(sizes, index, place.size).cpu()
        here = set(index.unique().tolist())
        limit = NEGLIGIBLE * float(sums.max())
        for channel in self._channels[place.group]:
            if channel in here:
                key = place.group, channel
                zero = bool(sums[channel] <= limit)
                self._read[key] = zero and self._read.get(key, True)
