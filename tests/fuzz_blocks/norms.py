"""Norms, statistics over dimensions, and what may not be shortened."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fuzz_blocks.base import Made, Place, Tensor, block, divisor, parameter, to_map, to_tokens


@block()
def written_norm(place: Place, a: int, b: int) -> nn.Module:
    """RMS and layer norms written by hand, over the channels."""
    dim = 1 if a % 2 else -1
    shape = (1, place.width, 1, 1) if dim == 1 else (place.width,)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = x if dim == 1 else x.permute(0, 2, 3, 1)
        if b % 5 == 0:
            y = y * torch.rsqrt(y.pow(2).mean(dim, keepdim=True) + 1e-2)
        elif b % 5 == 1:
            y = y / (y.square().mean(dim, keepdim=True) + 1e-2).sqrt()
        elif b % 5 == 2:
            mean = y.mean(dim, keepdim=True)
            y = (y - mean) / torch.sqrt((y - mean).pow(2).mean(dim, keepdim=True) + 1e-2)
        elif b % 5 == 3:
            y = F.normalize(y, dim=dim, eps=1e-2)
        else:
            y = (y - y.mean(dim, keepdim=True)) / (y.std(dim, keepdim=True, correction=0) + 1e-2)
        y = m.gain * y
        return y if dim == 1 else y.permute(0, 3, 1, 2)

    return Made(place.width, forward, gain=parameter(*shape))


@block()
def fused_norm(place: Place, a: int, b: int) -> nn.Module:
    """torch's own norms: over channels, over channels and space, with and without affine maps."""
    width, kind = place.width, b % 7
    affine = a % 2 == 0
    groups = divisor(width, a)
    norm: nn.Module = [
        nn.RMSNorm(width, eps=1e-2, elementwise_affine=affine),
        nn.LayerNorm(width, elementwise_affine=affine),
        nn.GroupNorm(groups, width, affine=affine),
        nn.InstanceNorm2d(width, affine=affine, track_running_stats=a > 3),
        nn.BatchNorm2d(width, affine=affine),
        nn.LayerNorm((width, place.height, place.wide), elementwise_affine=affine),
        nn.BatchNorm1d(width, affine=affine),
    ][kind]

    def forward(m: Any, x: Tensor) -> Tensor:
        if kind < 2:
            return m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if kind == 6:
            return m.norm(x.flatten(2)).unflatten(2, (place.height, place.wide))
        # Never alone: a mean over space behind an instance norm is the same for all inputs.
        return m.norm(x) + F.silu(x) if kind == 3 else m.norm(x)

    return Made(width, forward, norm=norm)


@block()
def statistics(place: Place, a: int, b: int) -> nn.Module:
    """Means, variances, maxima over space or channels, put to use by a layer."""
    kind = b % 8
    width = place.width
    conv = nn.Conv2d(width if kind < 4 else 1, width, 1)

    def of(x: Tensor) -> Tensor:
        if kind == 0:
            return x.var((2, 3), keepdim=True, correction=0)
        if kind == 1:
            return x.std((2, 3), keepdim=True) + x.amax((2, 3), keepdim=True)
        if kind == 2:
            return x.flatten(2).max(2, keepdim=True)[0].unsqueeze(3)
        if kind == 3:
            return x.flatten(2).logsumexp(2)[:, :, None, None]
        if kind == 4:
            return x.sum(1, keepdim=True)
        if kind == 5:
            return x.var(1, keepdim=True, correction=0) + x.amin(1, keepdim=True)
        if kind == 6:
            return torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return x.square().mean(1, keepdim=True)

    return Made(width, lambda m, x: x + m.conv(of(x)), conv=conv)


@block()
def whole_dimension(place: Place, a: int, b: int) -> nn.Module:
    """What needs every channel: softmax, sort, cumulative sums, top-k, over the channels."""
    width, kind = place.width, (a + b) % 6

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x)
        if kind == 0:
            return x + y.softmax(1)
        if kind == 1:
            return y.sort(1)[0]
        if kind == 2:
            return y.cumsum(1)
        if kind == 3:
            return y.topk(1 + width // 2, 1)[0]
        if kind == 4:
            return x + F.local_response_norm(y, 2)
        return y * (y > y.median(1, keepdim=True)[0])

    out = 1 + width // 2 if kind == 3 else width
    return Made(out, forward, conv=nn.Conv2d(width, width, 1))


@block()
def activations(place: Place, a: int, b: int) -> nn.Module:
    """Element-wise functions with and without parameters, one after the other."""
    width = place.width
    functions = [F.mish, F.elu, F.hardtanh, F.softplus, F.logsigmoid, F.leaky_relu, F.selu]
    slopes = nn.PReLU(width if b % 2 else 1)

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.slopes(functions[a % 7](x))
        if b % 3 == 0:
            y = torch.where(y > 0.1, y, m.other)
        elif b % 3 == 1:
            y = torch.maximum(y, m.other) + torch.addcmul(y, m.other, x)
        else:
            y = y.masked_fill(y.abs() < 0.1, 0.05).clamp(min=-3) * m.other.exp()
        return y

    return Made(width, forward, slopes=slopes, other=parameter(width, 1, 1))


@block()
def recurrent(place: Place, a: int, b: int) -> nn.Module:
    """Recurrent layers over the tokens: they stay as they are, what is around them need not."""
    kinds: list[Any] = [nn.LSTM, nn.GRU, nn.RNN]
    layer = kinds[b % 3](place.width, 1 + a, batch_first=True, bidirectional=b >= 6)

    def forward(m: Any, x: Tensor) -> Tensor:
        y, _ = m.layer(to_tokens(x))
        return x + to_map(m.out(y), place)

    out = nn.Linear((1 + a) * (2 if b >= 6 else 1), place.width)
    return Made(place.width, forward, layer=layer, out=out)
