"""A small vision transformer (Dosovitskiy et al. 2021) with fused or written-out attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class VitConfig:
    """Sizes of the transformer; ``fused`` chooses scaled_dot_product_attention."""

    image: int = 32
    patch: int = 8
    width: int = 48
    depth: int = 2
    heads: int = 4
    hidden: int = 96
    classes: int = 10
    fused: bool = True


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection for queries, keys and values."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.head_width = config.width // config.heads
        self.fused = config.fused
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, tokens, width) to the same shape."""
        batch, tokens, width = x.shape
        joint = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_width)
        queries, keys, values = joint.permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
        else:
            weights = (queries * self.head_width**-0.5) @ keys.transpose(-2, -1)
            mixed = weights.softmax(-1) @ values
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and added to its input."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.width)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, tokens, width) to the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Patches, class token, learned positions, blocks, head; (B, 3, S, S) to (B, classes)."""

    def __init__(self, config: VitConfig | None = None) -> None:
        super().__init__()
        config = config or VitConfig()
        tokens = (config.image // config.patch) ** 2 + 1
        self.patches = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.positions = nn.Parameter(torch.zeros(1, tokens, config.width))
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores of a batch of images."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])
