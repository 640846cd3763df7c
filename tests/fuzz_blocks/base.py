"""What a block is: a module that keeps the space of its (B, C, H, W) input; the table of them.

A block is made from the place where it stands and two small integers whose meaning is its own.
Every integer is good for every place, so that any program makes a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

Tensor = torch.Tensor


class Place(NamedTuple):
    """Size of the value that a block gets, without the batch."""

    width: int
    height: int
    wide: int

    @property
    def tokens(self) -> int:
        """Number of pixels."""
        return self.height * self.wide


class Made(nn.Module):
    """Layers and parameters by name, a forward function over them, and the width that it leaves."""

    def __init__(
        self,
        width: int,
        forward: Callable[[Any, Tensor], Tensor],
        **parts: nn.Module | Tensor | None,
    ) -> None:
        super().__init__()
        self.width = width
        for name, part in parts.items():
            if isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            elif isinstance(part, Tensor):
                self.register_buffer(name, part)
            else:
                self.add_module(name, part)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


Maker = Callable[[Place, int, int], nn.Module]


@dataclass(frozen=True)
class Block:
    """A block by name.

    Attributes:
        make: from the place and two integers, a module with the attribute ``width``.
        multiple: the width that it gets must be a multiple of this.
    """

    make: Maker
    multiple: int = 1


BLOCKS: dict[str, Block] = {}


def block(multiple: int = 1) -> Callable[[Maker], Maker]:
    """Enter a block under the name of its function."""

    def enter(make: Maker) -> Maker:
        name = make.__name__
        assert name not in BLOCKS, f"two blocks are called {name}"
        BLOCKS[name] = Block(make, multiple)
        return make

    return enter


def divisor(width: int, wish: int) -> int:
    """The largest divisor of ``width`` up to ``wish``."""
    return max(d for d in range(1, max(wish, 1) + 1) if width % d == 0)


def parameter(*shape: int) -> nn.Parameter:
    """A random parameter."""
    return nn.Parameter(torch.randn(shape))


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H W, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(x: Tensor, place: Place) -> Tensor:
    """(B, H W, C) as (B, C, H, W)."""
    return x.transpose(1, 2).unflatten(2, (place.height, place.wide))
