"""Data movement: views, permutes, cuts, concatenations, padding, indices, assignment."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fuzz_blocks.base import Made, Place, Tensor, block, divisor, parameter, to_map, to_tokens


@block(multiple=2)
def cut_and_joined(place: Place, a: int, b: int) -> nn.Module:
    """Split, chunk, unbind, slices, tensor_split; each part a layer of its own; joined again."""
    width, half, kind = place.width, place.width // 2, b % 7

    def cut(x: Tensor) -> tuple[Tensor, ...]:
        if kind == 0:
            return x.chunk(2, 1)
        if kind == 1:
            return x.split(half, 1)
        if kind == 2:
            return x.split([half, width - half], 1)
        if kind == 3:
            return x.unflatten(1, (2, half)).unbind(1)
        if kind == 4:
            return x[:, ::2], x[:, 1::2]
        if kind == 5:
            return x.narrow(1, 0, half), x.narrow(1, half, half)
        return x.tensor_split(2, 1)

    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = cut(x)
        left, right = m.left(left), torch.relu(right)
        if a % 3 == 0:
            return torch.stack([left, right], 2).flatten(1, 2)
        if a % 3 == 1:
            return torch.cat([right, left], 1)
        return torch.hstack([left, right, left * right])

    out = width + half if a % 3 == 2 else width
    return Made(out, forward, left=nn.Conv2d(half, half, 1))


@block()
def hierarchy(place: Place, a: int, b: int) -> nn.Module:
    """Res2Net's: the parts run one after the other, each adding the one before."""
    count = divisor(place.width, 1 + a)
    size = place.width // count

    def forward(m: Any, x: Tensor) -> Tensor:
        parts = list(torch.split(x, size, 1))
        done = [parts[0]]
        for part, layer in zip(parts[1:], m.layers, strict=True):
            done.append(F.relu(layer(part + done[-1] if b % 2 else part)))
        return torch.cat(done, 1)

    layers = nn.ModuleList(nn.Conv2d(size, size, 3, padding=1) for _ in range(count - 1))
    return Made(place.width, forward, layers=layers)


@block()
def by_index(place: Place, a: int, b: int) -> nn.Module:
    """Channels chosen by constant indices: in another order, repeated, some of them, by a mask."""
    width = place.width
    order = torch.randperm(width)
    kind = (a + b) % 6
    if kind == 1:
        order = order[: 1 + width // 2]
    elif kind == 2:
        order = torch.cat([order, order[: 1 + width // 3]])

    def forward(m: Any, x: Tensor) -> Tensor:
        if kind == 3:
            return x[:, :, torch.arange(place.height - 1, -1, -1)]
        if kind == 4:
            return x.gather(1, m.order.view(1, -1, 1, 1).expand_as(x))
        if kind == 5:
            return x[:, list(range(0, width, 2))]
        return x.index_select(1, m.order) if b % 2 else x[:, m.order]

    out = (width + 1) // 2 if kind == 5 else int(order.numel())
    return Made(out, forward, order=order)


@block()
def rearranged(place: Place, a: int, b: int) -> nn.Module:
    """Layers on rearranged views: space to depth, blocks of channels, unfold, permuted linear."""
    width, kind = place.width, b % 6
    groups = divisor(width, 1 + a)

    def forward(m: Any, x: Tensor) -> Tensor:
        batch = x.shape[0]
        if kind == 0:
            y = x.reshape(batch, groups, width // groups, place.tokens)
            return m.group(y.transpose(2, 3)).transpose(2, 3).reshape(x.shape[0], -1, *x.shape[2:])
        if kind == 1:
            y = x.view(batch, groups, -1, place.height, place.wide).mean(2)
            return m.few(y)
        if kind == 2:
            y = F.unfold(x, 3, padding=1)
            return m.unfolded(y.transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])
        if kind == 3:
            return F.pixel_shuffle(m.wide(x), 2)[:, :, ::2, ::2]
        if kind == 4:
            return m.packed(F.pixel_unshuffle(F.pad(x, (0, place.wide, 0, place.height)), 2))
        return (
            m.rows(x.permute(0, 3, 2, 1).flatten(2))
            .unflatten(2, (place.height, width))
            .permute(0, 3, 2, 1)
        )

    out = {0: width, 1: width, 2: 3, 3: 1 + a, 4: width, 5: width}[kind]
    return Made(
        out,
        forward,
        group=nn.Linear(width // groups, width // groups),
        few=nn.Conv2d(groups, width, 1),
        unfolded=nn.Linear(9 * width, 3),
        wide=nn.Conv2d(width, 4 * (1 + a), 1),
        packed=nn.Conv2d(4 * width, width, 1),
        rows=nn.Linear(place.height * width, place.height * width),
    )


@block()
def padded(place: Place, a: int, b: int) -> nn.Module:
    """Padding of channels and space; the channels of a shortcut that gets wider."""
    width, kind = place.width, b % 5

    def forward(m: Any, x: Tensor) -> Tensor:
        if kind == 0:
            return F.pad(x, (0, 0, 0, 0, 0, a)) + m.wider(x)
        if kind == 1:
            return torch.cat([x, x.new_zeros(x.shape[0], a, *x.shape[2:])], 1) * m.wider(x)
        if kind == 2:
            return m.narrow(F.pad(x, (1, 1, 1, 1), mode="reflect"))[:, :, 1:-1, 1:-1]
        if kind == 3:
            return m.valid(F.pad(x, (1, 1, 1, 1), mode="circular"))
        return m.valid(F.pad(m.wider(x), (1, 1, 1, 1, 0, -a)))

    out = width + a if kind < 2 else width
    return Made(
        out,
        forward,
        wider=nn.Conv2d(width, width + a, 1),
        narrow=nn.Conv2d(width, width, 1),
        valid=nn.Conv2d(width, width, 3),
    )


@block()
def written_to(place: Place, a: int, b: int) -> nn.Module:
    """In-place functions and assignment to slices."""
    width = place.width
    cut = 1 + a % width

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.conv(x)
        if b % 4 == 0:
            y[:, :cut] = m.part(x)
            y += x
        elif b % 4 == 1:
            y[:, :cut].mul_(2).add_(m.part(x))
            y.clamp_(-2, 2)
        elif b % 4 == 2:
            z = torch.zeros_like(y)
            z[:, :cut] = m.part(x)
            z[:, cut:] = y[:, cut:]
            y = z.mul_(m.scale)
        else:
            y = F.relu(y, inplace=True)
            y.sub_(x.mean((2, 3), keepdim=True)).div_(1.5)
            y[..., 0] = 0.3
        return y

    return Made(
        width,
        forward,
        conv=nn.Conv2d(width, width, 1),
        part=nn.Conv2d(width, cut, 1),
        scale=parameter(width, 1, 1),
    )


@block()
def flattened(place: Place, a: int, b: int) -> nn.Module:
    """Everything into one vector and back, as the first linear layer behind convolutions does."""
    everything = place.width * place.tokens
    hidden = 2 + a

    def forward(m: Any, x: Tensor) -> Tensor:
        flat = x.flatten(1) if b % 2 else x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)
        y = m.back(F.relu(m.first(flat)))
        if b % 3 == 0:
            return y.view(x.shape)
        return x * y.view(x.shape[0], place.height, place.wide, -1).permute(0, 3, 1, 2)

    return Made(
        place.width,
        forward,
        first=nn.Linear(everything, hidden),
        back=nn.Linear(hidden, everything),
    )


@block()
def positions(place: Place, a: int, b: int) -> nn.Module:
    """What is added to all examples alike: position embeddings, parameters of fewer dimensions."""
    width = place.width

    def forward(m: Any, x: Tensor) -> Tensor:
        if b % 4 == 0:
            return x + m.map
        if b % 4 == 1:
            return to_map(to_tokens(x) + m.tokens, place)
        if b % 4 == 2:
            return x * m.row + m.column
        numbers = torch.arange(place.tokens, device=x.device)
        return to_map(m.norm(to_tokens(x) + m.table(numbers)), place)

    return Made(
        width,
        forward,
        map=parameter(1, width, place.height, place.wide),
        tokens=parameter(place.tokens, width),
        row=parameter(width, 1, place.wide),
        column=parameter(place.height, 1),
        table=nn.Embedding(place.tokens + a, width),
        norm=nn.LayerNorm(width),
    )


@block()
def repeated(place: Place, a: int, b: int) -> nn.Module:
    """Channels repeated, tiled, expanded, summed in groups."""
    width, kind = place.width, b % 6
    groups = divisor(width, 1 + a)

    def forward(m: Any, x: Tensor) -> Tensor:
        if kind == 0:
            return x.repeat_interleave(2, 1)
        if kind == 1:
            return x.tile(1, 2, 1, 1)
        if kind == 2:
            return m.one(x).expand(-1, width, -1, -1) * x
        if kind == 3:
            return x.unflatten(1, (groups, -1)).sum(2)
        if kind == 4:
            y = x.unsqueeze(2).expand(-1, -1, 2, -1, -1)
            return y.reshape(x.shape[0], 2 * width, *x.shape[2:]) + m.twice(x)
        return torch.concat([x, x.flip(1), m.one(x)], 1)

    out = {0: 2 * width, 1: 2 * width, 2: width, 3: groups, 4: 2 * width, 5: 2 * width + 1}[kind]
    return Made(
        out,
        forward,
        one=nn.Conv2d(width, 1, 1),
        twice=nn.Conv2d(width, 2 * width, 1),
    )
