"""Channels as vectors: all the weights of a group that hold each of them."""

from __future__ import annotations

import torch

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import weights_by_channel


def coupled_rows(analysis: Analysis, group: ChannelGroup) -> torch.Tensor:
    """The weights of each channel of a group, one after the other: float32, shape (D, F).

    A complex weight is two, its real and its imaginary part.

    Rows of producers, scales, biases and columns of consumers alike; each tensor is first scaled to
    mean square 1, so that a large layer does not drown a small one. F is 0 without any weights.
    """
    parts = []
    for values, channels in weights_by_channel(analysis, group):
        halves = 1
        if values.is_complex():
            values, channels, halves = torch.view_as_real(values), channels.unsqueeze(-1), 2
        rows = channel_rows(values.float(), channels, group.size)
        size = (halves * rows.square().mean()).sqrt()
        parts.append(rows / size.clamp(min=torch.finfo(torch.float32).tiny))
    if not parts:
        return torch.zeros(group.size, 0)
    return torch.cat([part.to(parts[0].device) for part in parts], dim=1)


def channel_rows(values: torch.Tensor, channels: torch.Tensor, size: int) -> torch.Tensor:
    """The elements of each channel as one row, in an order that is the same for all of them.

    Args:
        values: a tensor of any shape.
        channels: int64 channel numbers that broadcast against it, -1 for none.
        size: number of channels D.

    Returns:
        shape (D, F); rows of channels with fewer elements than others end in zeros.
    """
    shape = torch.broadcast_shapes(values.shape, channels.shape)
    vary = [dim for dim, n in enumerate(channels.shape) if n > 1]
    rest = [dim for dim in range(len(shape)) if dim not in vary]
    flat = channels.reshape(-1).to(values.device)
    pieces = values.expand(shape).permute(*vary, *rest).reshape(flat.numel(), -1)
    inside = (flat >= 0).nonzero().reshape(-1)
    order = inside[flat[inside].argsort(stable=True)]
    owner = flat[order]
    counts = torch.bincount(owner, minlength=size)
    starts = counts.cumsum(0) - counts
    place = torch.arange(order.numel(), device=values.device) - starts[owner]
    rows = values.new_zeros(size, int(counts.max()), pieces.shape[1])
    rows[owner, place] = pieces[order]
    return rows.reshape(size, -1)
