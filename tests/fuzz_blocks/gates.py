"""Products of two branches, gates over channels, and mixtures."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fuzz_blocks.base import Made, Place, Tensor, block, divisor, parameter, to_map, to_tokens


@block()
def gated_perceptron(place: Place, a: int, b: int) -> nn.Module:
    """GLU, GEGLU, SwiGLU: two projections or one that is cut."""
    hidden, joint = 1 + a, b % 3 != 0

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        if b % 3 == 0:
            y = F.silu(m.gate(tokens)) * m.up(tokens)
        elif b % 3 == 1:
            y = F.glu(m.up(tokens), -1)
        else:
            left, right = m.up(tokens).chunk(2, -1)
            y = F.gelu(left) * right
        y = to_map(m.down(y), place)
        return x + y if b % 2 else y

    return Made(
        place.width,
        forward,
        gate=nn.Linear(place.width, hidden),
        up=nn.Linear(place.width, 2 * hidden if joint else hidden, bias=a % 2 == 0),
        down=nn.Linear(hidden, place.width),
    )


@block()
def split_attention(place: Place, a: int, b: int) -> nn.Module:
    """ResNeSt's: one convolution makes several versions; a softmax weighs them by channel."""
    count, width, groups = 2, divisor(place.width, 4) * (1 + a % 2), 1 + b % 2
    width = width * groups

    def forward(m: Any, x: Tensor) -> Tensor:
        batch = x.shape[0]
        parts = m.conv(x).view(batch, count, width, *x.shape[2:])
        pooled = parts.sum(1).mean((2, 3), keepdim=True)
        weights = m.up(F.relu(m.down(pooled)))
        weights = weights.view(batch, groups, count, -1).transpose(1, 2).softmax(1)
        weights = weights.reshape(batch, count, width, 1, 1)
        return (parts * weights).sum(1)

    return Made(
        width,
        forward,
        conv=nn.Conv2d(place.width, count * width, 1),
        down=nn.Conv2d(width, 2 * groups, 1, groups=groups),
        up=nn.Conv2d(2 * groups, count * width, 1, groups=groups),
    )


@block()
def selective_kernel(place: Place, a: int, b: int) -> nn.Module:
    """Two kernels, stacked; a softmax over them for each channel."""
    width = 2 + a

    def forward(m: Any, x: Tensor) -> Tensor:
        both = torch.stack([m.one(x), m.other(x)], 1)
        pooled = F.relu(m.down(both.sum(1).mean((2, 3))))
        if b % 2:
            weights = torch.stack([m.up(pooled), m.again(pooled)], 1).softmax(1)
        else:
            weights = m.both(pooled).view(x.shape[0], 2, width).softmax(1)
        return (both * weights[..., None, None]).sum(1)

    return Made(
        width,
        forward,
        one=nn.Conv2d(place.width, width, 1),
        other=nn.Conv2d(place.width, width, 3, padding=1),
        down=nn.Linear(width, 3),
        up=nn.Linear(3, width),
        again=nn.Linear(3, width),
        both=nn.Linear(3, 2 * width),
    )


@block()
def channel_gate(place: Place, a: int, b: int) -> nn.Module:
    """Gates from the channels themselves: ECA, spatial, by broadcasting, by linear layers."""
    width, kind = place.width, b % 4

    def forward(m: Any, x: Tensor) -> Tensor:
        if kind == 0:
            pooled = x.mean((2, 3)).unsqueeze(1)
            return x * torch.sigmoid(m.line(pooled)).squeeze(1)[:, :, None, None]
        if kind == 1:
            return x * torch.sigmoid(m.one(x))
        if kind == 2:
            pooled = F.adaptive_max_pool2d(x, 1).flatten(1)
            return x * m.up(F.relu(m.down(pooled))).sigmoid().view(x.shape[0], -1, 1, 1)
        return x * F.softplus(m.gain) + m.shift

    return Made(
        width,
        forward,
        line=nn.Conv1d(1, 1, 3, padding=1, bias=False),
        one=nn.Conv2d(width, 1, 1),
        down=nn.Linear(width, 1 + a),
        up=nn.Linear(1 + a, width),
        gain=parameter(1, width, 1, 1),
        shift=parameter(width, 1, 1) if a % 2 else parameter(1),
    )


@block()
def experts(place: Place, a: int, b: int) -> nn.Module:
    """A mixture of experts, each run on everything: a list, or stacked weights."""
    count, hidden, width = 2 + a % 2, 1 + a, place.width
    kind = b % 3
    parts: dict[str, Any] = {"router": nn.Linear(width, count)}
    if kind == 0:
        layers = [
            nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
            for _ in range(count)
        ]
        parts["experts"] = nn.ModuleList(layers)
    else:
        parts |= {"up": parameter(count, width, hidden), "down": parameter(count, hidden, width)}

    def forward(m: Any, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        weights = m.router(tokens).softmax(-1)
        if b >= 6:  # only the best one counts
            weights = weights * F.one_hot(weights.argmax(-1), count)
        if kind == 0:
            y = sum(weights[..., i : i + 1] * e(tokens) for i, e in enumerate(m.experts))
        elif kind == 1:
            inner = F.silu(torch.einsum("bnc,ech->benh", tokens, m.up))
            y = torch.einsum("benh,ehc,bne->bnc", inner, m.down, weights)
        else:
            inner = F.relu(tokens.unsqueeze(1) @ m.up)
            y = ((inner @ m.down) * weights.transpose(1, 2).unsqueeze(-1)).sum(1)
        return x + to_map(y, place)

    return Made(width, forward, **parts)


@block()
def mixer(place: Place, a: int, b: int) -> nn.Module:
    """Perceptrons over tokens, over channels, and a gate over tokens: MLP-Mixer and gMLP."""
    count, hidden = place.tokens, 2 + a

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.norm(to_tokens(x)).transpose(1, 2)
        x = x + m.second(F.gelu(m.first(y))).unflatten(2, (place.height, place.wide))
        if b % 2 == 0:
            return x
        left, right = m.up(to_tokens(x)).chunk(2, -1)
        right = m.space((m.inner(right) if b % 3 else right).transpose(1, 2)).transpose(1, 2)
        return x + to_map(m.down(left * right), place)

    return Made(
        place.width,
        forward,
        norm=nn.LayerNorm(place.width),
        first=nn.Linear(count, hidden),
        second=nn.Linear(hidden, count),
        up=nn.Linear(place.width, 2 * hidden),
        inner=nn.LayerNorm(hidden),
        space=nn.Linear(count, count),
        down=nn.Linear(hidden, place.width),
    )


@block()
def bilinear(place: Place, a: int, b: int) -> nn.Module:
    """einsum over two branches, a product of vectors, nn.Bilinear, low-rank factors."""
    width, kind = place.width, b % 4

    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = m.left(x), m.right(x)
        if kind == 0:
            return torch.einsum("bchw,bdhw,cdo->bohw", left, right, m.core)
        if kind == 1:
            gram = torch.einsum("bchw,bdhw->bcd", left, right)
            return torch.einsum("bcd,bdhw->bchw", gram.tanh(), right)
        if kind == 2:
            y = m.pair(
                left.permute(0, 2, 3, 1).contiguous(), right.permute(0, 2, 3, 1).contiguous()
            )
            return y.permute(0, 3, 1, 2)
        return torch.einsum("oc,bchw->bohw", m.first @ m.second, left)

    outer = 1 + a
    parts: dict[str, Any] = {
        "left": nn.Conv2d(width, outer, 1),
        "right": nn.Conv2d(width, 3, 1),
        "core": parameter(outer, 3, width),
        "pair": nn.Bilinear(outer, 3, width),
        "first": parameter(width, 2),
        "second": parameter(2, outer),
    }
    return Made(outer if kind == 1 else width, forward, **parts)
