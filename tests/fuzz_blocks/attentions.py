"""Self-attention and its relatives, over the pixels of a map."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fuzz_blocks.base import Made, Place, Tensor, block, parameter, to_map, to_tokens


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, heads size) as (B, heads, N, size)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(B, heads, N, size) as (B, N, heads size)."""
    return x.transpose(1, 2).flatten(2)


def _projections(place: Place, heads: int, size: int, kv_heads: int = 0) -> dict[str, nn.Module]:
    inner, shared = heads * size, (kv_heads or heads) * size
    return {
        "norm": nn.LayerNorm(place.width),
        "q": nn.Linear(place.width, inner),
        "k": nn.Linear(place.width, shared),
        "v": nn.Linear(place.width, shared),
        "out": nn.Linear(inner, place.width),
    }


@block()
def mha_module(place: Place, a: int, b: int) -> nn.Module:
    """torch's own MultiheadAttention: packed or separate weights, with or without its weights."""
    heads = 1 + a % 3
    width = heads * (1 + b % 3)
    attention = nn.MultiheadAttention(
        width,
        heads,
        batch_first=b % 2 == 0,
        bias=a % 2 == 0,
        kdim=place.width if b >= 6 else None,
        vdim=place.width if b >= 6 else None,
        add_bias_kv=b == 5,
    )

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        query, other = m.enter(tokens), tokens if b >= 6 else m.enter(tokens)
        if b % 2:
            query, other = query.transpose(0, 1), other.transpose(0, 1)
        y, _ = m.attention(query, other, other, need_weights=b % 4 == 0)
        return x + to_map(m.leave(y.transpose(0, 1) if b % 2 else y), place)

    enter, leave = nn.Linear(place.width, width), nn.Linear(width, place.width)
    return Made(place.width, forward, enter=enter, attention=attention, leave=leave)


@block()
def encoder_layer(place: Place, a: int, b: int) -> nn.Module:
    """torch's own transformer layer, norm first or last."""
    heads = 1 + a % 2
    layer = nn.TransformerEncoderLayer(
        heads * 2, heads, 3 + a, norm_first=b % 2 == 0, batch_first=True, activation="gelu"
    )

    def forward(m: Any, x: Tensor) -> Tensor:
        return x + to_map(m.leave(m.layer(m.enter(to_tokens(x)))), place)

    enter, leave = nn.Linear(place.width, heads * 2), nn.Linear(heads * 2, place.width)
    return Made(place.width, forward, enter=enter, layer=layer, leave=leave)


@block()
def grouped_query(place: Place, a: int, b: int) -> nn.Module:
    """Key and value heads shared by several query heads, or by all."""
    kv, times, size = 1 + a % 3, 2 + b % 2, 2 + (a + b) % 2
    way = b % 4

    def wider(x: Tensor) -> Tensor:
        if way == 0:
            return x.repeat_interleave(times, 1)
        if way == 1:
            batch, _, length, _ = x.shape
            y = x[:, :, None].expand(batch, kv, times, length, size)
            return y.reshape(batch, kv * times, length, size)
        return x

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = m.norm(to_tokens(x))
        q, k, v = _heads(m.q(tokens), kv * times), _heads(m.k(tokens), kv), _heads(m.v(tokens), kv)
        if way == 3:  # no copies at all: one more dimension
            q = q.unflatten(1, (kv, times))
            weights = (q @ k[:, :, None].transpose(-2, -1) * 0.5).softmax(-1)
            y = (weights @ v[:, :, None]).flatten(1, 2)
        else:
            k, v = wider(k), wider(v)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=a == 4, enable_gqa=way == 2)
        return x + to_map(m.out(_joined(y)), place)

    return Made(place.width, forward, **_projections(place, kv * times, size, kv))


@block()
def biased(place: Place, a: int, b: int) -> nn.Module:
    """Attention with something added to its weights: tables, slopes, masks; talking heads."""
    heads, size, count = 1 + a % 4, 2 + b % 2, place.tokens
    kind = b % 5
    positions = torch.arange(count)
    distance = positions[:, None] - positions[None, :] + count - 1
    extra: dict[str, Any] = {"distance": distance}
    if kind == 0:
        extra["table"] = parameter(2 * count - 1, heads)
    elif kind == 1:
        extra["table"] = nn.Embedding(2 * count - 1, heads)
    elif kind == 2:
        extra["slopes"] = parameter(heads, 1, 1)
    elif kind == 3:
        extra |= {"before": nn.Linear(heads, heads), "after": nn.Conv2d(heads, heads, 1)}
    else:
        extra["table"] = parameter(1, heads, count, count)

    def bias(m: Any) -> Tensor:
        if kind == 0:
            return m.table[m.distance.view(-1)].view(count, count, -1).permute(2, 0, 1)[None]
        if kind == 1:
            return m.table(m.distance).permute(2, 0, 1).unsqueeze(0)
        if kind == 2:
            return m.slopes * m.distance
        return m.table

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = m.norm(to_tokens(x))
        q, k, v = (_heads(layer(tokens), heads) for layer in (m.q, m.k, m.v))
        if kind != 3 and a % 2:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias(m))
        elif kind != 3:
            y = (q @ k.mT * size**-0.5 + bias(m)).softmax(-1) @ v
        else:
            weights = m.before((q @ k.mT).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
            y = m.after(weights) @ v
        return x + to_map(m.out(_joined(y)), place)

    return Made(place.width, forward, **_projections(place, heads, size), **extra)


@block()
def normalised_queries(place: Place, a: int, b: int) -> nn.Module:
    """Queries and keys on the unit sphere, or with norms of their own."""
    heads, size = 1 + a % 3, 2 + b % 3
    norms = {
        "q_norm": nn.LayerNorm(size) if b % 3 == 1 else nn.RMSNorm(size, eps=1e-3),
        "k_norm": nn.LayerNorm(size) if b % 3 == 1 else nn.RMSNorm(size, eps=1e-3),
    }

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = m.norm(to_tokens(x))
        q, k, v = (_heads(layer(tokens), heads) for layer in (m.q, m.k, m.v))
        if b % 3 == 0:
            scale = m.scale.clamp(max=4.6).exp()
            weights = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * scale
            y = weights.softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(m.q_norm(q), m.k_norm(k), v)
        return x + to_map(m.out(_joined(y)), place)

    parts = {**_projections(place, heads, size), **(norms if b % 3 else {})}
    return Made(place.width, forward, **parts, scale=parameter(heads, 1, 1))


@block()
def latents(place: Place, a: int, b: int) -> nn.Module:
    """Cross-attention: learned latents read the map, the map reads the latents."""
    heads, size, count = 1 + a % 3, 2, 1 + b % 4
    inner = heads * size

    def attend(query: Tensor, other: Tensor) -> Tensor:
        q, k = _heads(query, heads), _heads(other, heads)
        if b % 2:
            return _joined(F.scaled_dot_product_attention(q, k, k))
        return _joined(torch.einsum("bhqk,bhkd->bhqd", (q @ k.mT).softmax(-1), k))

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = m.norm(to_tokens(x))
        known = attend(m.latents.expand(x.shape[0], -1, -1), m.k(tokens))
        read = attend(m.q(tokens), m.v(known + m.latents))
        return x + to_map(m.out(read), place)

    return Made(
        place.width,
        forward,
        norm=nn.LayerNorm(place.width),
        latents=parameter(1, count, inner),
        q=nn.Linear(place.width, inner),
        k=nn.Linear(place.width, inner),
        v=nn.Linear(inner, inner),
        out=nn.Linear(inner, place.width),
    )


@block()
def windowed(place: Place, a: int, b: int) -> nn.Module:
    """Attention inside windows, perhaps shifted, with a class token or not: Swin's block."""
    heads, size = 1 + a % 3, 2
    rows = 2 if place.height % 2 == 0 else 1
    columns = 2 if place.wide % 2 == 0 else 1
    shift = b % 2

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.norm(x.permute(0, 2, 3, 1))
        if shift:
            y = torch.roll(y, (-1, -1), (1, 2))
        batch, height, wide, width = y.shape
        y = y.view(batch, height // rows, rows, wide // columns, columns, width)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows * columns, width)
        q, k, v = m.qkv(y).unflatten(2, (3, heads, size)).permute(2, 0, 3, 1, 4).unbind(0)
        if b % 3 == 0:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.mT * size**-0.5 + m.table).softmax(-1) @ v
        y = m.out(_joined(y))
        y = y.view(-1, height // rows, wide // columns, rows, columns, width)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, wide, width)
        if shift:
            y = torch.roll(y, (1, 1), (1, 2))
        return x + y.permute(0, 3, 1, 2)

    return Made(
        place.width,
        forward,
        norm=nn.LayerNorm(place.width),
        qkv=nn.Linear(place.width, 3 * heads * size),
        table=parameter(heads, rows * columns, rows * columns),
        out=nn.Linear(heads * size, place.width),
    )


@block()
def linear_attention(place: Place, a: int, b: int) -> nn.Module:
    """Attention without a softmax over tokens, or over channels instead of tokens."""
    heads, size = 1 + a % 3, 2 + b % 2

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = m.norm(to_tokens(x))
        q, k, v = (_heads(layer(tokens), heads) for layer in (m.q, m.k, m.v))
        if b % 3 == 0:
            q, k = F.elu(q) + 1, F.elu(k) + 1
            y = q @ (k.mT @ v) / (q @ k.sum(-2, keepdim=True).mT + 1)
        elif b % 3 == 1:
            y = torch.einsum("bhnd,bhde->bhne", q, torch.einsum("bhnd,bhne->bhde", k, v))
        else:  # cross-covariance
            weights = (F.normalize(q, dim=-2).mT @ F.normalize(k, dim=-2) * m.scale).softmax(-1)
            y = (weights @ v.mT).mT
        return x + to_map(m.out(_joined(y)), place)

    return Made(
        place.width, forward, **_projections(place, heads, size), scale=parameter(heads, 1, 1)
    )


@block()
def rotary(place: Place, a: int, b: int) -> nn.Module:
    """Rotary positions, and a class token that goes again."""
    heads, size = 1 + a % 3, 4
    angle = torch.rand(place.tokens + 1, size // 2)
    angle = torch.cat([angle, angle], -1)

    def turned(m: Any, x: Tensor) -> Tensor:
        if b % 2:
            left, right = x.chunk(2, -1)
        else:
            left, right = x[..., : size // 2], x[..., size // 2 :]
        return x * m.cosine + torch.cat([-right, left], -1) * m.sine

    def forward(m: Any, x: Tensor) -> Tensor:
        first = m.first.expand(x.shape[0], -1, -1)
        tokens = m.norm(torch.cat([first, to_tokens(x)], 1) + m.position)
        q, k, v = (_heads(layer(tokens), heads) for layer in (m.q, m.k, m.v))
        y = F.scaled_dot_product_attention(turned(m, q), turned(m, k), v, is_causal=b % 3 == 1)
        return x + to_map(m.out(_joined(y))[:, 1:], place)

    return Made(
        place.width,
        forward,
        first=parameter(1, 1, place.width),
        position=parameter(1, place.tokens + 1, place.width),
        cosine=angle.cos(),
        sine=angle.sin(),
        **_projections(place, heads, size),
    )


@block()
def partly_rotary(place: Place, a: int, b: int) -> nn.Module:
    """Rotary positions of half of each head; heads packed with their keys, or one key for all."""
    heads, size = 1 + a % 4, 4
    angle = torch.rand(place.tokens, size // 4).repeat(1, 2)

    def turned(m: Any, x: Tensor) -> Tensor:
        front, back = x[..., : size // 2], x[..., size // 2 :]
        left, right = front.chunk(2, -1)
        front = front * m.cosine + torch.cat([-right, left], -1) * m.sine
        return torch.cat([front, back], -1)

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = m.norm(to_tokens(x))
        if b % 2:
            q, k, v = m.packed(tokens).unflatten(2, (heads, -1)).transpose(1, 2).chunk(3, -1)
        else:
            q, k, v = _heads(m.q(tokens), heads), _heads(m.k(tokens), 1), _heads(m.v(tokens), 1)
        q, k = turned(m, q), turned(m, k)
        if b % 4 == 2:
            shape = (x.shape[0], heads, place.tokens, size)
            k, v = k.expand(shape), v.expand(shape)
        y = (q @ k.mT * 0.5).softmax(-1) @ v
        return x + to_map(m.out(_joined(y)), place)

    parts = _projections(place, heads, size, 1)
    if b % 2:
        parts = {"norm": parts["norm"], "out": parts["out"]}
        parts["packed"] = nn.Linear(place.width, 3 * heads * size)
    return Made(place.width, forward, **parts, cosine=angle.cos(), sine=angle.sin())
