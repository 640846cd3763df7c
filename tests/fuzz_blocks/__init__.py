"""Blocks for random networks: one family a file, entered in ``base.BLOCKS`` by importing them."""

from __future__ import annotations

from fuzz_blocks import attentions, classic, convolutions, gates, moves, norms
from fuzz_blocks.base import BLOCKS, Block, Place
from fuzz_blocks.networks import FRAMES, Network, Program, Recipe, build

__all__ = [
    "BLOCKS",
    "FRAMES",
    "Block",
    "Network",
    "Place",
    "Program",
    "Recipe",
    "attentions",
    "build",
    "classic",
    "convolutions",
    "gates",
    "moves",
    "norms",
]
