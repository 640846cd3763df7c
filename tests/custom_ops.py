"""Operators of a user's own, made with torch.library, and networks that use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


@torch.library.custom_op("graphprune_tests::soft_clip", mutates_args=())
def soft_clip(x: Tensor, y: Tensor) -> Tensor:
    """Element-wise."""
    return torch.tanh(x) + 0.1 * y


@soft_clip.register_fake
def _(x: Tensor, y: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("graphprune_tests::scale_channels", mutates_args=())
def scale_channels(x: Tensor, scale: Tensor) -> Tensor:
    """(b, c, t) times (c)."""
    return x * scale[:, None]


@scale_channels.register_fake
def _(x: Tensor, scale: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("graphprune_tests::mix", mutates_args=())
def mix(x: Tensor, weight: Tensor) -> Tensor:
    """(b, c, t) mixed by (o, c) to (b, o, t)."""
    return torch.einsum("bct,oc->bot", x, weight)


@mix.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], x.shape[2])


@torch.library.custom_op("graphprune_tests::halves", mutates_args=())
def halves(x: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """The first so many channels, and the others."""
    return x[:, :first].clone(), x[:, first:].clone()


@halves.register_fake
def _(x: Tensor, first: int) -> tuple[Tensor, Tensor]:
    rest = x.shape[1] - first
    return x.new_empty(x.shape[0], first, x.shape[2]), x.new_empty(x.shape[0], rest, x.shape[2])


@torch.library.custom_op("graphprune_tests::energy", mutates_args=())
def energy(x: Tensor) -> Tensor:
    """Sum of squares over the channels: (b, c, t) to (b, t)."""
    return x.square().sum(1)


@energy.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[2])


@torch.library.custom_op("graphprune_tests::centre", mutates_args=())
def centre(x: Tensor) -> Tensor:
    """Less the mean over the channels."""
    return x - x.mean(1, keepdim=True)


@centre.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("graphprune_tests::attend", mutates_args=())
def attend(x: Tensor) -> Tensor:
    """Softmax over the channels."""
    return torch.softmax(x, 1)


@attend.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Network(nn.Module):
    """(b, 3, 10) -> (b, 4): a convolution, what is under test on 8 channels, and a head.

    ``op(x, extra)`` takes (b, 8, 10) and the parameter and returns (b, channels, 10).
    """

    def __init__(
        self, op: Callable[..., Tensor], extra: tuple[int, ...] = (8,), channels: int = 8
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.op = op
        self.before = nn.Conv1d(3, 8, 3, padding=1)
        self.extra = nn.Parameter(torch.rand(extra) + 0.5)
        self.after = nn.Conv1d(channels, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        x = self.op(torch.relu(self.before(x)), self.extra)
        return self.head(torch.relu(self.after(x)).mean(2))


def inputs() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 10)
