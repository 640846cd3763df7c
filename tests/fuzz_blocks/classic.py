"""The blocks of the engine's other tests, which know only their width."""

from __future__ import annotations

import engine_networks
from torch import nn

from fuzz_blocks.base import BLOCKS, Block, Maker, Place


def _placed(name: str) -> Maker:
    def make(place: Place, a: int, b: int) -> nn.Module:
        return engine_networks.BLOCKS[name](place.width, a, b % 6)

    return make


# Cutting in two needs two channels.
BLOCKS.update({n: Block(_placed(n), 2 if n == "split" else 1) for n in engine_networks.BLOCKS})
