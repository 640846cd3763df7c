"""Convolutions of all kinds and ranks, and where their weights come from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fuzz_blocks.base import Made, Place, Tensor, block, divisor, parameter

_RANKS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Any] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


def _as_rank(x: Tensor, rank: int) -> Tensor:
    return {1: x.flatten(2), 2: x, 3: x.unsqueeze(2)}[rank]


@block()
def of_any_rank(place: Place, a: int, b: int) -> nn.Module:
    """Conv1d to Conv3d: plain, grouped, depthwise, with kernel 1 or 3."""
    rank, size = 1 + b % 3, 1 + 2 * (a % 2)
    groups = (1, divisor(place.width, a), place.width)[(a + b) % 3]
    out = groups * (1 + (b // 3) % 3)
    conv = _RANKS[rank](place.width, out, size, padding=size // 2, groups=groups, bias=b % 2 == 0)
    shape = (place.height, place.wide)
    return Made(
        out, lambda m, x: m.conv(_as_rank(x, rank)).flatten(2).unflatten(2, shape), conv=conv
    )


@block()
def transposed_of_any_rank(place: Place, a: int, b: int) -> nn.Module:
    """Transposed convolutions, grouped or not."""
    rank = 1 + b % 3
    groups = divisor(place.width, a) if b % 2 else 1
    out = groups * (1 + a % 3)
    conv = _TRANSPOSED[rank](place.width, out, 3, padding=1, groups=groups)
    shape = (place.height, place.wide)
    return Made(
        out, lambda m, x: m.conv(_as_rank(x, rank)).flatten(2).unflatten(2, shape), conv=conv
    )


@block()
def down_and_up(place: Place, a: int, b: int) -> nn.Module:
    """A strided path brought back to size, and a skip connection: added or concatenated."""
    hidden = 2 + a
    down = nn.Conv2d(place.width, hidden, 3, stride=2, padding=1)
    up = nn.Conv2d(hidden, place.width, 3, padding="same")
    size = (place.height, place.wide)
    mode = ("nearest", "bilinear", "bicubic")[b % 3]

    def forward(m: Any, x: Tensor) -> Tensor:
        corners = None if mode == "nearest" else b % 2 == 0
        y = F.interpolate(F.relu(m.down(x)), size=size, mode=mode, align_corners=corners)
        y = m.up(y)
        return torch.cat([x, y], 1) if b >= 6 else x + y

    return Made(place.width * (2 if b >= 6 else 1), forward, down=down, up=up)


@block()
def inverted_bottleneck(place: Place, a: int, b: int) -> nn.Module:
    """Expansion, depthwise convolution, squeeze and excitation, projection: MobileNet's block."""
    hidden, width = place.width * 2, place.width

    def forward(m: Any, x: Tensor) -> Tensor:
        y = F.hardswish(m.depth(F.relu6(m.norm(m.wide(x)))))
        if b % 2:
            y = y * torch.sigmoid(m.up(F.silu(m.down(y.mean((2, 3), keepdim=True)))))
        return x + m.narrow(y)

    return Made(
        width,
        forward,
        wide=nn.Conv2d(width, hidden, 1, bias=False),
        norm=nn.BatchNorm2d(hidden),
        depth=nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, dilation=1),
        down=nn.Conv2d(hidden, 1 + a, 1),
        up=nn.Conv2d(1 + a, hidden, 1),
        narrow=nn.Conv2d(hidden, width, 1),
    )


@block(multiple=2)
def shuffled_groups(place: Place, a: int, b: int) -> nn.Module:
    """Grouped convolution, shuffle by view or by index, grouped convolution: ShuffleNet's block."""
    groups, width = (2 if a % 2 else divisor(place.width, a)), place.width
    order = torch.arange(width).view(groups, -1).t().reshape(-1)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = F.relu(m.first(x))
        if b % 3 == 0:
            y = F.channel_shuffle(y, groups)
        elif b % 3 == 1:
            y = y[:, m.order]
        else:
            y = y.view(y.shape[0], groups, width // groups, *y.shape[2:])
            y = y.transpose(1, 2).flatten(1, 2)
        return m.second(y) + x if b >= 4 else m.second(y)

    first = nn.Conv2d(width, width, 1, groups=groups)
    second = nn.Conv2d(width, width, 1, groups=1 if b % 2 else groups)
    return Made(width, forward, first=first, second=second, order=order)


@block(multiple=2)
def shuffled_halves(place: Place, a: int, b: int) -> nn.Module:
    """One half through convolutions, both concatenated and shuffled: ShuffleNet V2's block."""
    half = place.width // 2

    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if b % 2 else x.split([half, half], 1)
        right = m.last(F.relu(m.depth(m.first(right))))
        y = torch.cat([left, right], 1)
        if a % 2:
            return F.channel_shuffle(y, 2)
        return y.unflatten(1, (2, half)).transpose(1, 2).flatten(1, 2)

    return Made(
        place.width,
        forward,
        first=nn.Conv2d(half, half, 1),
        depth=nn.Conv2d(half, half, 3, padding=1, groups=half),
        last=nn.Conv2d(half, half, 1),
    )


@block()
def standardised_weight(place: Place, a: int, b: int) -> nn.Module:
    """Weight standardisation by var_mean, by batch_norm on the weight, or weight_norm."""
    out = 2 * a
    if b % 3 == 2:
        conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(place.width, out, 1))
        return Made(out, lambda m, x: m.conv(x), conv=conv)

    def forward(m: Any, x: Tensor) -> Tensor:
        weight = m.weight
        if b % 3 == 0:
            variance, mean = torch.var_mean(weight, (1, 2, 3), keepdim=True, correction=0)
            weight = (weight - mean) * torch.rsqrt(variance + 0.1)
        else:
            flat = weight.reshape(1, out, -1)  # one channel per output, statistics over the rest
            flat = F.batch_norm(flat, None, None, m.gain, training=True, eps=0.1)
            weight = flat.reshape(weight.shape)
        return F.conv2d(x, weight, m.bias, padding=1)

    return Made(
        out,
        forward,
        weight=parameter(out, place.width, 3, 3),
        gain=parameter(out),
        bias=parameter(out),
    )


@block()
def one_kernel_twice(place: Place, a: int, b: int) -> nn.Module:
    """One convolution used for two branches, or a weight tied to its own transpose."""
    conv = nn.Conv2d(place.width, 2 + a, 1)

    def forward(m: Any, x: Tensor) -> Tensor:
        if b % 2:
            return m.conv(x) * torch.sigmoid(m.conv(x.flip(2)))
        y = F.relu(m.conv(x))
        if b % 4:
            return F.conv_transpose2d(y, m.conv.weight)
        return F.conv2d(y, m.conv.weight.transpose(0, 1))

    return Made(2 + a if b % 2 else place.width, forward, conv=conv)


@block()
def large_kernel(place: Place, a: int, b: int) -> nn.Module:
    """ConvNeXt's block: depthwise, norm of channels, perceptron, response norm, LayerScale."""
    width, hidden = place.width, 2 + a

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.norm(m.depth(x).permute(0, 2, 3, 1))
        y = F.gelu(m.first(y))
        if b % 2:
            size = torch.linalg.vector_norm(y, dim=(1, 2), keepdim=True)
            size = size / (size.mean(-1, keepdim=True) + 1e-6)
            y = m.beta + m.gamma * y * size + y
        return x + (m.second(y) * m.scale).permute(0, 3, 1, 2)

    return Made(
        width,
        forward,
        depth=nn.Conv2d(width, width, 3, padding=1, groups=width),
        norm=nn.LayerNorm(width),
        first=nn.Linear(width, hidden),
        second=nn.Linear(hidden, width),
        scale=parameter(width),
        gamma=parameter(1, 1, 1, hidden),
        beta=parameter(1, 1, 1, hidden),
    )
