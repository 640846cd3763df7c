"""Small random networks put together from blocks; a network is plain data, so a failure prints it.

A program is a tuple of ``(block, a, b)``: the block's name and two small integers whose meaning is
the block's own. Every integer is good for every width, so that any program makes a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.models.randomise import randomise

Block = tuple[str, int, int]
Program = tuple[Block, ...]

NORMS = ("batch", "group", "instance", "layer", "rms", "single")


def divisor(width: int, wish: int) -> int:
    """The largest divisor of ``width`` up to ``wish``."""
    return max(d for d in range(1, max(wish, 1) + 1) if width % d == 0)


class Norm(nn.Module):
    """One of the norms, on (B, C, H, W)."""

    def __init__(self, kind: str, width: int, groups: int) -> None:
        super().__init__()
        self.kind = kind
        self.norm: nn.Module
        if kind == "batch":
            self.norm = nn.BatchNorm2d(width)
        elif kind == "group":
            self.norm = nn.GroupNorm(divisor(width, groups), width)
        elif kind == "single":
            self.norm = nn.GroupNorm(1, width)
        elif kind == "instance":
            self.norm = nn.InstanceNorm2d(width, affine=True)
        else:
            self.norm = nn.LayerNorm(width) if kind == "layer" else nn.RMSNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind in ("layer", "rms"):
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.norm(x)


class Residual(nn.Module):
    """x + conv(act(norm(conv(x)))), with a projection where the width changes."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.width = 4 * a if b % 2 else width
        hidden = 4 + 2 * b
        self.body = nn.Sequential(
            nn.Conv2d(width, hidden, 3, padding=1),
            Norm(NORMS[(a + b) % len(NORMS)], hidden, a),
            nn.GELU(),
            nn.Conv2d(hidden, self.width, 1),
        )
        self.short = nn.Identity() if self.width == width else nn.Conv2d(width, self.width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.short(x) + self.body(x)


class Attention(nn.Module):
    """Self-attention over space, fused or written out, added to its input."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.width, self.heads, self.fused = width, 1 + a % 4, b % 2 == 0
        self.size = 2 + b % 3
        inner = self.heads * self.size
        self.norm = nn.LayerNorm(width)
        self.joint = b >= 3
        if self.joint:
            self.qkv = nn.Linear(width, 3 * inner)
        else:
            self.query, self.key = nn.Linear(width, inner), nn.Linear(width, inner, bias=False)
            self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, width, height, wide = x.shape
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        shape = (batch, height * wide, self.heads, self.size)
        if self.joint:
            parts = self.qkv(tokens).view(batch, height * wide, 3, self.heads, self.size)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        else:
            layers = (self.query, self.key, self.value)
            q, k, v = (layer(tokens).view(shape).transpose(1, 2) for layer in layers)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-2, -1) * self.size**-0.5).softmax(-1) @ v
        mixed = mixed.transpose(1, 2).reshape(batch, height * wide, -1)
        return x + self.out(mixed).transpose(1, 2).reshape(batch, width, height, wide)


class Squeeze(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.width = width
        self.down, self.up = nn.Conv2d(width, 2 + a, 1), nn.Conv2d(2 + a, width, 1)
        self.hard = b % 2 == 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1))))
        return x * (F.hardsigmoid(gate) if self.hard else gate.sigmoid())


class Split(nn.Module):
    """Cut in two, treat the parts apart, and concatenate (``b`` even) or gate."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.gate = b % 2 == 1 and width % 2 == 0
        self.first = width // 2 if self.gate else min(max(1, a), width - 1)
        self.width = width - self.first if self.gate else width
        self.conv = nn.Conv2d(width - self.first, width - self.first, 1)
        self.chunks = b >= 3 and width % 2 == 0
        if self.chunks:
            self.conv = nn.Conv2d(width // 2, width // 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.chunks:
            left, right = x.chunk(2, 1)
        else:
            left, right = x[:, : self.first], x[:, self.first :]
        right = F.silu(self.conv(right))
        return torch.sigmoid(left) * right if self.gate else torch.cat([right, left], 1)


class Dense(nn.Module):
    """Concatenate new features behind the old ones, as a DenseNet does."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.width = width + 2 * a
        self.body = nn.Sequential(
            Norm("batch" if b % 2 else "layer", width, 1), nn.ReLU(), nn.Conv2d(width, 2 * a, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], 1)


class Mixed(nn.Module):
    """Statistics over the channels steer all of them (CBAM's spatial attention)."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.width, self.maxima = width, b % 2 == 0
        self.conv = nn.Conv2d(2 if self.maxima else 1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [x.mean(1, keepdim=True)]
        if self.maxima:
            maps.append(x.amax(1, keepdim=True))
        return x * self.conv(torch.cat(maps, 1)).sigmoid()


class Assigned(nn.Module):
    """In-place arithmetic and slice assignment."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.width, self.cut = width, min(max(1, a), width)
        self.conv, self.other = nn.Conv2d(width, width, 1), nn.Conv2d(width, self.cut, 1)
        self.whole = b % 2 == 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        if self.whole:
            y[:, : self.cut] = self.other(x)
        else:
            y[:, : self.cut] += self.other(x)
        y.relu_().add_(x)
        return y


class Moved(nn.Module):
    """Data movement over channels: pad, flip, roll, stack, repeat, pixel shuffle, shuffle."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.kind = (a + 5 * b) % 8
        self.groups, self.b = divisor(width, a), b
        self.width = width
        self.conv: nn.Module = nn.Identity()
        if self.kind == 0:
            self.width = width + 3
        elif self.kind == 4:
            self.width = 2 * width
        elif self.kind == 5:
            self.conv = nn.Conv2d(width, 4 * width, 1)
        elif self.kind == 6:
            self.width = 4 * width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == 0:
            return F.pad(x, (0, 0, 0, 0, 1, 2))
        if self.kind == 1:
            return x.flip(1) + x
        if self.kind == 2:
            return x.roll(1, 1)
        if self.kind == 3:
            return torch.stack([x, x.sigmoid()], self.b % 3).sum(self.b % 3)
        if self.kind == 4:
            return x.repeat(1, 2, 1, 1)
        if self.kind == 5:
            return F.avg_pool2d(F.pixel_shuffle(self.conv(x), 2), 2)
        if self.kind == 6:
            return F.pixel_unshuffle(F.interpolate(x, scale_factor=2.0), 2)
        batch, width, height, wide = x.shape
        parts = x.view(batch, self.groups, width // self.groups, height, wide)
        return parts.transpose(1, 2).reshape(batch, width, height, wide)


class Computed(nn.Module):
    """A convolution whose weight is computed: standardised over its inputs."""

    def __init__(self, width: int, a: int, b: int) -> None:
        super().__init__()
        self.width = 3 * a
        self.weight = nn.Parameter(torch.randn(self.width, width, 1, 1))
        self.gain = nn.Parameter(torch.randn(self.width, 1, 1, 1))
        self.centred = b % 2 == 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight
        if self.centred:
            weight = weight - weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight * self.gain)


class Fixed(nn.Module):
    """A module without state, and the width that it leaves."""

    def __init__(self, body: Callable[[torch.Tensor], torch.Tensor], width: int) -> None:
        super().__init__()
        self.body, self.width = body, width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def _conv(width: int, a: int, b: int) -> nn.Module:
    layer = nn.Conv2d(width, 3 * a, 1 + 2 * (b % 2), padding=b % 2)
    return _with_width(layer, 3 * a)


def _grouped(width: int, a: int, b: int) -> nn.Module:
    groups = divisor(width, a)
    out = groups * (1 + b)
    return _with_width(nn.Conv2d(width, out, 3, padding=1, groups=groups), out)


def _depthwise(width: int, a: int, b: int) -> nn.Module:
    out = width * (1 + (a + b) % 2)
    return _with_width(nn.Conv2d(width, out, 3, padding=1, groups=width), out)


def _transposed(width: int, a: int, b: int) -> nn.Module:
    groups = divisor(width, a) if b % 2 else 1
    out = groups * (1 + b)
    return _with_width(nn.ConvTranspose2d(width, out, 3, padding=1, groups=groups), out)


def _norm(width: int, a: int, b: int) -> nn.Module:
    return _with_width(Norm(NORMS[(a + 2 * b) % len(NORMS)], width, a), width)


def _activation(width: int, a: int, b: int) -> nn.Module:
    kind = (a + 5 * b) % 6
    if kind == 0:
        return _with_width(nn.PReLU(width), width)
    if kind == 1:
        return _with_width(nn.PReLU(1), width)
    if kind == 2 and width % 2 == 0:
        return Fixed(lambda x: F.glu(x, 1), width // 2)
    if kind == 3:
        return Fixed(lambda x: x.softmax(1) + x, width)
    if kind == 4:
        return Fixed(lambda x: x.cumsum(1), width)
    return Fixed(F.silu, width)


def _perceptron(width: int, a: int, b: int) -> nn.Module:
    first, second = nn.Linear(width, 2 + 2 * a), nn.Linear(2 + 2 * a, width)

    class Perceptron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width, self.first, self.second = width, first, second

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.second(F.gelu(self.first(x.movedim(1, -1)))).movedim(-1, 1)
            return x + y if b % 2 else y

    return Perceptron()


def _with_width(module: nn.Module, width: int) -> nn.Module:
    module.width = width  # type: ignore[assignment]
    return module


BLOCKS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "conv": _conv,
    "residual": Residual,
    "dense": Dense,
    "split": Split,
    "grouped": _grouped,
    "depthwise": _depthwise,
    "transposed": _transposed,
    "norm": _norm,
    "activation": _activation,
    "squeeze": Squeeze,
    "attention": Attention,
    "perceptron": _perceptron,
    "mixed": Mixed,
    "assigned": Assigned,
    "moved": Moved,
    "computed": Computed,
}


class Network(nn.Module):
    """Convolution, the program's blocks, and a head; (B, 3, 4, 4) to (B, 3)."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        width, blocks = 8, []
        for name, a, b in program:
            block = BLOCKS[name](width, a, b)
            width = int(block.width)  # type: ignore[arg-type]
            blocks.append(block)
        self.blocks = nn.Sequential(*blocks)
        self.flat = sum(b for _, _, b in program) % 2 == 0
        self.head = nn.Linear(width * (16 if self.flat else 1), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Not linear, or the mean after an instance norm would be the same for every input.
        x = F.silu(self.blocks(self.stem(x)))
        return self.head(x.flatten(1) if self.flat else x.mean((2, 3)))


def network(program: Program) -> tuple[nn.Module, tuple[torch.Tensor]]:
    """The program's network in eval mode, with weights that hide nothing, and inputs of batch 2."""
    torch.manual_seed(math.prod(ord(name[0]) + a + b for name, a, b in program) % 2**31)
    model = randomise(Network(program), torch.randn(8, 3, 4, 4))
    return model, (torch.randn(2, 3, 4, 4),)
