"""A channel group, and where its channels lie."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from graphprune.analysis.units import Block


@dataclass(frozen=True)
class Member:
    """One dimension of one parameter or buffer."""

    parameter: str
    dim: int


class Kind(IntEnum):
    """What a channel that may go by itself is of heads and the like, whose columns are shared.

    ``COLUMN_OF_MANY`` is a column of rows of which each may go as well; ``HEAD`` a whole head, all
    of whose channels go together whatever is asked for.
    """

    PLAIN = 0
    ROW = 1
    COLUMN = 2
    COLUMN_OF_MANY = 3
    HEAD = 4


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are weighed against each other and pruned together across the graph.

    Attributes:
        name: the first parameter that brings the channels forth.
        channels: classes of atoms, one per channel, int64, shape (D,).
        members: every parameter dimension that holds some of the channels.
        alone: those of them that may go by themselves, int64, 1-D.
        kinds: the :class:`Kind` of each of these, int8, 1-D.
        in_step: blocks of the others; see :class:`graphprune.analysis.units.Block`.
        rows: channels of whole rows (attention heads, conv groups) that may go together as well,
            perhaps with rows of other groups: see ``Settlement.row_units``.
    """

    name: str
    channels: np.ndarray
    members: tuple[Member, ...]
    alone: np.ndarray
    kinds: np.ndarray
    in_step: tuple[Block, ...] = ()
    rows: tuple[tuple[int, ...], ...] = ()

    @property
    def size(self) -> int:
        """Number of channels D."""
        return int(self.channels.size)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All removal units."""
        return (*self.in_step, *(Block(((one,),)) for one in self.alone.tolist()))
