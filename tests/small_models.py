"""Tiny models with the traits that saving and comparing must survive."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import torch
from torch import nn

from graphprune.capturing.capture import Captured, capture

Heads = namedtuple("Heads", ["logits", "features"])


class Traits(nn.Module):
    """Batch norm, dropout, tied weights, an unsaved buffer, a keyword input, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.25)
        self.first = nn.Linear(8, 4)
        self.second = nn.Linear(8, 4, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("gain", torch.full((4,), 1.5), persistent=False)
        nn.init.uniform_(self.norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, image: torch.Tensor, *, scale: torch.Tensor) -> Heads:
        features = self.drop(torch.relu(self.norm(self.conv(image)))).mean((2, 3))
        logits = self.first(features) * self.gain + self.second(features.square())
        return Heads(logits * scale, features)


class Merged(nn.Module):
    """(N, T, 8) -> (N, T, 3), with heads beside the examples in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(x, x, x)[0])  # with its weights, so written out


class Tokens(nn.Module):
    """Integer inputs; a dict of a float, an integer and a constant output."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, ids: torch.Tensor) -> dict[str, Any]:
        logits = self.head(self.table(ids).mean(1))
        return OrderedDict(logits=logits, best=logits.argmax(1), anchors=torch.arange(3.0))


class FixedBatch(nn.Module):
    """The batch is part of the computation, so it cannot be free."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(x.reshape(12))


def traits() -> Captured:
    """:class:`Traits`, captured with a batch of 2."""
    torch.manual_seed(1)
    return capture(Traits().eval(), ((torch.randn(2, 3, 8, 8),), {"scale": torch.rand(2, 1) + 0.5}))


def tokens() -> Captured:
    """:class:`Tokens`, captured with a batch of 2."""
    torch.manual_seed(2)
    return capture(Tokens().eval(), torch.randint(0, 11, (2, 7)))


def fixed_batch() -> Captured:
    """:class:`FixedBatch`, captured with its only batch, 4."""
    torch.manual_seed(3)
    return capture(FixedBatch().eval(), torch.randn(4, 3))


class PerExample(nn.Module):
    """A kernel for each example, so that examples are groups (CondConv, StyleGAN)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(6, 2, 1)
        self.mix, self.kernels = nn.Linear(8, 4), nn.Parameter(torch.randn(4, 6 * 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        b, c, h, w = x.shape
        kernel = (self.mix(x.mean((2, 3))).softmax(1) @ self.kernels).view(b * 6, c, 1, 1)
        x = nn.functional.conv2d(x.view(1, b * c, h, w), kernel, groups=b)
        return self.last(x.view(b, 6, h, w))
