"""One channel's part of a value, found by the labels of its elements and by nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from graphprune.labels.slots import varying


@dataclass(frozen=True, eq=False)
class Part:
    """Elements of one channel.

    Attributes:
        values: float32 on the CPU, without dimensions of size 1.
        dims: what each of its dimensions is, such as ``dimension 2`` of the value.
        inner: whether it is one-dimensional and lies behind the channels' own dimensions, as in
            (B, C, L); False for positions in front of them, as in (B, T, C).
        places: how many of its first dimensions run over places of the channel among others.
    """

    values: torch.Tensor
    dims: tuple[str, ...]
    inner: bool = False
    places: int = 0


def channel_part(value: torch.Tensor, index: torch.Tensor, channel: int) -> Part:
    """Cut one channel out of a value.

    Args:
        value: any shape and type; of complex numbers the absolute value is taken.
        index: int64 channel numbers that broadcast against it, -1 for none; as in
            :class:`graphprune.switches.sites.SwitchSite`.
        channel: the number; it must be in the index.

    Returns:
        Its first dimensions are those along which the channel lies at several places among other
        channels (queries and keys in one tensor, the pixels of a shuffle); where these form no
        box they are one, ``places``. The others follow in their order.
    """
    value = value.detach().abs() if value.is_complex() else value.detach()
    vary = varying(index)
    free = [dim for dim in range(value.ndim) if dim not in vary]
    found = (index == channel).nonzero()[:, vary]
    rows = [column.unique() for column in found.T]
    value = value.permute(*vary, *free)
    dims = [*vary, *free]
    if math.prod(map(len, rows)) == len(found):
        for dim, places in enumerate(rows):
            value = value.index_select(dim, places.to(value.device))
    else:
        value = value[tuple(found.T.to(value.device))]
        dims = [-1, *free]
    kept = [place for place, size in enumerate(value.shape) if size != 1]
    names = [f"dimension {dims[place]}" if dims[place] >= 0 else "places" for place in kept]
    inner = len(kept) == 1 and dims[kept[0]] > max(vary, default=-1)
    values = value.reshape([value.shape[place] for place in kept]).float().cpu()
    among = sum(dims[place] not in free for place in kept)
    return Part(values, tuple(names), inner, among)
