"""Vision: convolutions and gates of other kinds than torch.nn has."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.zoos.pictures import pictures


class RepVGGBlock(nn.Module):
    """Three branches, one of them a batch norm alone, as in DingXiaoH/RepVGG."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        same = cin == cout and stride == 1
        self.rbr_identity = nn.BatchNorm2d(cin) if same else None
        self.rbr_dense = nn.Sequential()
        self.rbr_dense.add_module("conv", nn.Conv2d(cin, cout, 3, stride, 1, bias=False))
        self.rbr_dense.add_module("bn", nn.BatchNorm2d(cout))
        self.rbr_1x1 = nn.Sequential(nn.Conv2d(cin, cout, 1, stride), nn.BatchNorm2d(cout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = 0 if self.rbr_identity is None else self.rbr_identity(x)
        return F.relu(self.rbr_dense(x) + self.rbr_1x1(x) + out)


class RepVGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage0 = RepVGGBlock(3, 32, 2)
        self.stage1 = nn.Sequential(RepVGGBlock(32, 64, 2), RepVGGBlock(64, 64))
        self.gap = nn.AdaptiveAvgPool2d(output_size=1)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.gap(self.stage1(self.stage0(x)))
        return self.linear(out.view(out.size(0), -1))


class CBAM(nn.Module):
    """Jongchan/attention-module: pooled twice over pixels, then twice over channels."""

    def __init__(self, c: int, r: int = 4) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(c, c // r), nn.ReLU(), nn.Linear(c // r, c)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = (x.size(2), x.size(3))
        att = self.mlp(F.avg_pool2d(x, size, stride=size))
        att = att + self.mlp(F.max_pool2d(x, size, stride=size))
        x = x * torch.sigmoid(att).unsqueeze(2).unsqueeze(3).expand_as(x)
        pool = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.spatial(pool))


class ECA(nn.Module):
    """A 1-D convolution across the channels, as in BangguWu/ECANet; its reach is fixed."""

    def __init__(self, c: int) -> None:
        super().__init__()
        k = int(abs((math.log2(c) + 1) / 2))
        self.conv = nn.Conv1d(1, 1, k if k % 2 else k + 1, padding=k // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.mean((2, 3), keepdim=True)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * torch.sigmoid(y).expand_as(x)


class HardSE(nn.Module):
    """Squeeze and excite in place, as in MobileNetV3 ports."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(c, c // 2, 1), nn.Conv2d(c // 2, c, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = F.adaptive_avg_pool2d(x, 1)
        s = F.relu6(self.fc2(F.relu_(self.fc1(s))).add_(3.0), inplace=True).div_(6.0)
        x *= s
        return x


class Gated(nn.Module):
    """A bottleneck network with a gate in each block."""

    def __init__(self, gate: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.conv1, self.conv2 = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(64), nn.BatchNorm2d(32)
        self.gate1, self.gate2 = gate(64), gate(32)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        out = self.gate1(F.relu(self.bn1(self.conv1(x))))
        out = self.gate2(self.bn2(self.conv2(out)))
        out += x
        return self.fc(F.adaptive_avg_pool2d(F.relu(out), 1).flatten(1))


class CondConv(nn.Module):
    """A weight for each example, mixed from experts; examples become groups."""

    def __init__(self, cin: int, cout: int, k: int = 3, experts: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, cout, cin, k, k) * 0.05)
        self.bias = nn.Parameter(torch.randn(experts, cout) * 0.1)
        self.attention = nn.Linear(cin, experts)
        self.cin, self.cout, self.k, self.experts = cin, cout, k, experts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.size()
        mix = F.softmax(self.attention(F.adaptive_avg_pool2d(x, 1).flatten(1)) / 30.0, 1)
        weight = torch.mm(mix, self.weight.view(self.experts, -1))
        weight = weight.view(b * self.cout, self.cin, self.k, self.k)
        bias = torch.mm(mix, self.bias).view(-1)
        out = F.conv2d(x.reshape(1, -1, h, w), weight, bias, padding=self.k // 2, groups=b)
        return out.view(b, self.cout, out.size(-2), out.size(-1))


class Involution(nn.Module):
    """Kernels made at each pixel, multiplied with unfolded neighbours, as in d-li14/involution."""

    def __init__(self, c: int, kernel_size: int = 3, group_channels: int = 8) -> None:
        super().__init__()
        self.k, self.group_channels, self.groups = kernel_size, group_channels, c // group_channels
        self.conv1 = nn.Sequential(nn.Conv2d(c, c // 4, 1), nn.BatchNorm2d(c // 4), nn.ReLU())
        self.conv2 = nn.Conv2d(c // 4, kernel_size**2 * self.groups, 1)
        self.unfold = nn.Unfold(kernel_size, 1, (kernel_size - 1) // 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.conv2(self.conv1(x))
        b, _, h, w = weight.shape
        weight = weight.view(b, self.groups, self.k**2, h, w).unsqueeze(2)
        out = self.unfold(x).view(b, self.groups, self.group_channels, self.k**2, h, w)
        return (weight * out).sum(dim=3).view(b, self.groups * self.group_channels, h, w)


class Mixed(nn.Module):
    """A convolution, a block of some kind of the same width, and a classifier."""

    def __init__(self, block: nn.Module, c: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, c, 3, 2, 1)
        self.block, self.norm = block, nn.BatchNorm2d(c)
        self.conv = nn.Conv2d(c, 64, 3, padding=1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.norm(self.block(x)))
        return self.fc(F.relu(self.conv(x)).mean([-2, -1]))


class OctaveConv(nn.Module):
    """Two frequencies, four convolutions, sliced from one weight, as in lxtGH/OctaveConv."""

    def __init__(self, c: int, alpha: float = 0.25) -> None:
        super().__init__()
        self.low = int(alpha * c)
        self.weights = nn.Parameter(torch.randn(c, c, 3, 3) * 0.05)
        self.bias = nn.Parameter(torch.randn(c) * 0.1)

    def forward(self, x: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        high, low = x
        n = high.size(1)
        w, b = self.weights, self.bias
        h2l = F.conv2d(F.avg_pool2d(high, 2), w[n:, :n], b[n:], 1, 1)
        l2l = F.conv2d(low, w[n:, n:], b[n:], 1, 1)
        h2h = F.conv2d(high, w[0:n, 0:n], b[:n], 1, 1)
        l2h = F.interpolate(F.conv2d(low, w[:n, n:], b[:n], 1, 1), scale_factor=2, mode="nearest")
        return h2h + l2h, h2l + l2l


class OctaveNet(nn.Module):
    def __init__(self, c: int = 32) -> None:
        super().__init__()
        self.first_high, self.first_low = nn.Conv2d(3, 24, 3, 1, 1), nn.Conv2d(3, 8, 3, 1, 1)
        self.oct1, self.oct2 = OctaveConv(c), OctaveConv(c)
        self.last = nn.Conv2d(c, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pair = self.first_high(x), self.first_low(F.avg_pool2d(x, 2))
        pair = self.oct1(tuple(F.relu(p) for p in pair))
        high, low = self.oct2(tuple(F.relu(p) for p in pair))
        return self.last(torch.cat([high, F.interpolate(low, scale_factor=2)], 1)).mean((2, 3))


class ShakeDrop(nn.Module):
    """PyramidNet with ShakeDrop in eval: the shortcut is padded with zeros to the wider block."""

    def __init__(self, widths: tuple[int, ...] = (16, 28, 40, 52)) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for a, b in pairwise(widths):
            block = [nn.BatchNorm2d(a), nn.Conv2d(a, b, 3, padding=1, bias=False)]
            block += [nn.BatchNorm2d(b), nn.ReLU(True), nn.Conv2d(b, b, 3, padding=1, bias=False)]
            self.blocks.append(nn.Sequential(*block, nn.BatchNorm2d(b)))
        self.p_drop, self.fc = 0.5, nn.Linear(widths[-1], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv0(x)
        for block in self.blocks:
            out = block(x)
            if self.training:
                out = out * torch.bernoulli(torch.full_like(out[:, :1, :1, :1], self.p_drop))
            else:
                out = (1 - self.p_drop) * out
            b, c, h, w = x.shape
            pad = torch.zeros(b, out.shape[1] - c, h, w, dtype=x.dtype, device=x.device)
            x = out + torch.cat((x, pad), 1)
        return self.fc(F.relu(x).mean((2, 3)))


class Res2Block(nn.Module):
    """Res2Net: chunks handed on one to the next."""

    def __init__(self, c: int = 32, scale: int = 4) -> None:
        super().__init__()
        self.conv1, self.conv3 = nn.Conv2d(c, 64, 1), nn.Conv2d(64, c, 1)
        self.nums, self.width = scale - 1, 64 // scale
        self.convs = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 3, padding=1) for _ in range(self.nums)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spx = torch.split(F.relu(self.conv1(x)), self.width, 1)
        for i in range(self.nums):
            sp = spx[i] if i == 0 else sp + spx[i]  # noqa: F821 - as people write it
            sp = F.relu(self.convs[i](sp))
            out = sp if i == 0 else torch.cat((out, sp), 1)  # noqa: F821 - as above
        return self.conv3(torch.cat((out, spx[self.nums]), 1)) + x


def _image() -> torch.Tensor:
    return pictures(2, 3, 16, 16)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "repvgg_branches": lambda: (RepVGG(), _image()),
    "cbam": lambda: (Gated(CBAM), _image()),
    "eca": lambda: (Gated(ECA), _image()),
    "se_hard_in_place": lambda: (Gated(HardSE), _image()),
    "condconv": lambda: (Mixed(CondConv(32, 32)), _image()),
    "involution": lambda: (Mixed(Involution(32)), _image()),
    "octave_one_weight": lambda: (OctaveNet(), _image()),
    "pyramidnet_shakedrop": lambda: (ShakeDrop(), _image()),
    "res2net_chunks": lambda: (Mixed(Res2Block()), _image()),
}
