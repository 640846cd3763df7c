"""Attention whose heads share their columns: rotary positions, norms of queries, one key head."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor

HEADS, SIZE, TOKENS, WIDTH = 4, 8, 5, 16


class Rotary(nn.Module):
    """Attention whose queries and keys are turned, all or a part of each head."""

    def __init__(self, key_heads: int = HEADS, part: int = SIZE, bias: bool = True) -> None:
        super().__init__()
        self.heads, self.key_heads, self.size, self.part = HEADS, key_heads, SIZE, part
        self.q, self.k, self.v = (
            nn.Linear(WIDTH, heads * SIZE, bias=bias) for heads in (HEADS, key_heads, key_heads)
        )
        self.out = nn.Linear(HEADS * SIZE, 3)
        angle = torch.rand(TOKENS, part // 2).repeat(1, 2)
        self.register_buffer("cosine", angle.cos())
        self.register_buffer("sine", angle.sin())

    def turned(self, x: Tensor) -> Tensor:
        front, back = x[..., : self.part], x[..., self.part :]
        left, right = front.chunk(2, -1)
        front = front * self.cosine + torch.cat([-right, left], -1) * self.sine
        return torch.cat([front, back], -1)

    def turned_keys(self, x: Tensor) -> Tensor:
        return self.turned(x)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.size)).transpose(1, 2)

    def wider(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        shape = (batch, self.key_heads, self.heads // self.key_heads, TOKENS, x.shape[-1])
        return x[:, :, None].expand(shape).reshape(batch, self.heads, TOKENS, -1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(f(x)) for f in (self.q, self.k, self.v))
        q, k = self.turned(q), self.wider(self.turned_keys(k))
        y = F.scaled_dot_product_attention(q, k, self.wider(v))
        return self.out(y.transpose(1, 2).flatten(2))


class Normed(Rotary):
    """Norms with one weight for all heads in place of rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q_norm, self.k_norm = nn.RMSNorm(SIZE), nn.RMSNorm(SIZE)

    def turned(self, x: Tensor) -> Tensor:
        return self.q_norm(x)

    def turned_keys(self, x: Tensor) -> Tensor:
        return self.k_norm(x)


class Packed(Rotary):
    """Queries, keys and values of each head side by side in one projection."""

    def __init__(self) -> None:
        super().__init__(part=SIZE // 2)
        del self.q, self.k, self.v
        self.qkv = nn.Linear(WIDTH, 3 * HEADS * SIZE)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (self.heads, -1)).transpose(1, 2).chunk(3, -1)
        y = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v)
        return self.out(y.transpose(1, 2).flatten(2))


KINDS = {
    "all heads": Rotary,
    "without bias": lambda: Rotary(bias=False),
    "a part of each head": lambda: Rotary(part=SIZE // 2),
    "two queries a key": lambda: Rotary(key_heads=2),
    "one key for all": lambda: Rotary(key_heads=1),
    "norms": Normed,
    "packed": Packed,
}
