"""Networks from blocks: what goes in, the blocks, what comes out. A recipe is plain data."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.models.randomise import randomise
from fuzz_blocks.base import BLOCKS, Place, Tensor, to_map, to_tokens

Program = tuple[tuple[str, int, int], ...]

FRAMES = (
    "image",
    "pooled",
    "pair",
    "keywords",
    "tokens",
    "signal",
    "video",
    "dictionary",
    "nested",
)
"""What a network takes (one tensor, two, token numbers) and returns (one, a dict, a tuple)."""

WIDEST = 20
"""Wider values are brought back to a few channels, or the networks would be slow."""


@dataclass(frozen=True)
class Recipe:
    """All there is to know of a random network.

    Attributes:
        program: blocks as (name, a, b).
        frame: one of :data:`FRAMES`.
        width: channels that the first block gets.
        size: height and width of the maps.
    """

    program: Program
    frame: str = "image"
    width: int = 6
    size: tuple[int, int] = (4, 4)


class Network(nn.Module):
    """A stem, the program's blocks, a head; what they are depends on the frame."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.frame, self.size = recipe.frame, recipe.size
        width, height, wide = recipe.width, *recipe.size
        self.stem: nn.Module = nn.Conv2d(3, width, 3, padding=1)
        if self.frame in ("pair", "keywords"):
            self.other = nn.Conv2d(2, width, 1)
        elif self.frame == "tokens":
            self.stem = nn.Embedding(11, width)
        elif self.frame == "signal":
            self.stem = nn.Conv1d(2, width, 3, padding=1)
        elif self.frame == "video":
            self.stem = nn.Conv3d(2, width, (2, 1, 1))
        blocks: list[nn.Module] = []
        self.origin = width
        for name, a, b in recipe.program:
            block = BLOCKS[name]
            short = -width % block.multiple
            if short or width > WIDEST:
                aim = 2 * block.multiple if width > WIDEST else width + short
                blocks.append(nn.Conv2d(width, aim, 1))
                width = aim
            blocks.append(block.make(Place(width, height, wide), a, b))
            width = int(blocks[-1].width)  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(blocks)
        if self.frame == "tokens":
            self.back = nn.Linear(width, self.origin)
            self.norm = nn.LayerNorm(self.origin)
            self.head = nn.Linear(self.origin, 11, bias=False)
            self.head.weight = self.stem.weight  # tied, as in language models
        else:
            self.head = nn.Linear(width * (height * wide if self.frame == "image" else 1), 3)

    def _stem(self, x: Tensor, other: Tensor | None) -> Tensor:
        if self.frame == "tokens":
            return to_map(self.stem(x), Place(self.origin, *self.size))
        if self.frame == "signal":
            return self.stem(x).unflatten(2, self.size)
        if self.frame == "video":
            return self.stem(x).squeeze(2)
        return self.stem(x) if other is None else self.stem(x) + self.other(other)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Any:
        x = first = self._stem(x, other)
        for block in self.blocks:
            x = block(x)
        # Not linear, or the mean after an instance norm would be the same for every input.
        x = F.silu(x)
        if self.frame == "tokens":
            return self.head(self.norm(self.back(to_tokens(x))))
        y = self.head(x.flatten(1) if self.frame == "image" else x.mean((2, 3)))
        if self.frame == "dictionary":
            return {"logits": y, "features": first.mean((2, 3)), "most": x.amax((1, 2, 3))}
        if self.frame == "nested":
            return y, (x.sum((1, 2, 3)), [y.softmax(-1)])
        return y


def _inputs(recipe: Recipe, batch: int) -> Any:
    height, wide = recipe.size
    image, other = torch.randn(batch, 3, height, wide), torch.randn(batch, 2, height, wide)
    if recipe.frame == "tokens":
        return (torch.randint(11, (batch, height * wide)),)
    if recipe.frame == "signal":
        return (torch.randn(batch, 2, height * wide),)
    if recipe.frame == "video":
        return (torch.randn(batch, 2, 2, height, wide),)
    if recipe.frame == "pair":
        return (image, other)
    if recipe.frame == "keywords":
        return {"x": image, "other": other}
    return (image,)


def build(recipe: Recipe) -> tuple[nn.Module, Any]:
    """The network in eval mode, in double precision, with weights that hide nothing, and inputs.

    Double precision, so that rounding is never mistaken for a wrong cut, nor a wrong cut for it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(repr(recipe).encode()))
        model = randomise(Network(recipe), _inputs(recipe, 8)).double()
        inputs = torch.utils._pytree.tree_map(
            lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, _inputs(recipe, 2)
        )
    return model, inputs
