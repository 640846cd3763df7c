"""What is known of the channels shown, and the page made of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphprune.errors import UsageError
from graphprune.io.text import reason


@dataclass(frozen=True, eq=False)
class Activation:
    """One channel's activations for one example.

    Attributes:
        values: float32, without dimensions of size 1.
        dims: what each dimension is.
        inner: whether its one dimension lies behind the channels' own.
        places: how many of the first dimensions run over places of the channel among others, see
            :func:`graphprune.features.channel.channel_part`.
        unread: whether all of it is zero wherever a consumer reads it; None where none was seen.
    """

    values: np.ndarray
    dims: tuple[str, ...]
    inner: bool = False
    places: int = 0
    unread: bool | None = None


@dataclass(frozen=True)
class Channel:
    """A channel that is shown.

    Attributes:
        number: in its group, from 0.
        rank: by importance, 1 for the most important.
        importance: its score.
        interval: least and greatest importance (90 % interval), None without one.
        activations: one for each example.
    """

    number: int
    rank: int
    importance: float
    interval: tuple[float, float] | None
    activations: tuple[Activation, ...]


@dataclass(frozen=True, eq=False)
class GroupFeatures:
    """The most and the least important channels of one group.

    Attributes:
        name: of the group.
        size: its number of channels.
        node: graph node whose value is shown.
        op: its operator.
        source: the line of the user's model that made it, "" if unknown.
        shape: of the value at capture.
        scaled: whether a switch acts there, see :class:`graphprune.features.places.View`.
        others: further nodes that a switch of the group acts on.
        readers: nodes from which consumers read the channels.
        here: how many of the channels lie in that value.
        most, least: channels, the more important first.
        importance: of all channels, (size,).
        separated: share of the pairs (one of ``most``, one of ``least``) whose intervals do not
            overlap; None without intervals.
        intervals: least and greatest importance of the first n channels, (2, n); None: not known.
    """

    name: str
    size: int
    node: str
    op: str
    source: str
    shape: tuple[int, ...]
    scaled: bool
    others: tuple[str, ...]
    readers: tuple[str, ...]
    here: int
    most: tuple[Channel, ...]
    least: tuple[Channel, ...]
    importance: np.ndarray
    separated: float | None
    intervals: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ShownInput:
    """An example.

    Attributes:
        name: such as ``example 3``.
        label: its class, None where it has none.
        values: its first tensor input, without the batch dimension.
        inputs: how many tensor inputs the model takes.
    """

    name: str
    label: int | None
    values: np.ndarray
    inputs: int


@dataclass(frozen=True, eq=False)
class Features:
    """Activations of the most and the least important channels of several groups.

    Attributes:
        source: the model's file or class.
        method: how channels were ranked.
        inputs: the examples.
        groups: in graph order.
        found: how many groups there are.
        token_grid: (extra, height, width) of token positions as the user gave them.
        notes: lines that a reader must know.
        certainty: what the intervals are, or that the method gives none.
    """

    source: str
    method: str
    inputs: tuple[ShownInput, ...]
    groups: tuple[GroupFeatures, ...]
    found: int
    token_grid: tuple[int, int, int] | None = None
    notes: tuple[str, ...] = ()
    certainty: str = ""

    def to_html(self) -> str:
        """One page that holds everything it shows and loads nothing."""
        from graphprune.features.page import render

        return render(self)

    def save(self, path: str | Path, *, overwrite: bool = False) -> int:
        """Write the page, whole or not at all.

        Returns:
            Its size in bytes.

        Raises:
            UsageError: the file cannot be written, or is there and ``overwrite`` is False.
        """
        place = check_page(path, overwrite=overwrite)
        data = self.to_html().encode("utf-8")
        partial = place.with_name(f".{place.name}.graphprune-partial")
        try:
            partial.write_bytes(data)
            os.replace(partial, place)
        except OSError as error:
            raise UsageError(f"cannot write {place}: {error.strerror or error}") from error
        finally:
            partial.unlink(missing_ok=True)
        return len(data)


def check_page(path: str | Path, *, overwrite: bool = False) -> Path:
    """Refuse a page's path early, before the long work begins; nothing is created.

    Returns:
        The absolute path.

    Raises:
        UsageError: as :meth:`Features.save`.
    """
    try:
        place = Path(path).expanduser().resolve()
        there = place.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{str(path)!r} cannot be a file: {reason(error)}") from error
    if place.is_dir() or not place.name:
        raise UsageError(f"{place} is a folder; give a file for the page, such as features.html")
    if there and not overwrite:
        raise UsageError(f"{place} exists; give another file, or --overwrite to replace it")
    if not place.parent.is_dir() or not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{place.parent} is no folder that can be written to; give another file")
    return place
