"""Vision: encoders and decoders, and pictures made larger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.zoos.pictures import pictures


class DoubleConv(nn.Module):
    """As in milesial/Pytorch-UNet."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(cin, cout, 3, padding=1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
            nn.Conv2d(cout, cout, 3, padding=1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.double_conv(x)


class UNet(nn.Module):
    """Skips are concatenated after padding by the difference of the two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.inc = DoubleConv(3, 16)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(16, 32))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(32, 64))
        self.up1 = DoubleConv(96, 32)
        self.up2 = DoubleConv(48, 16)
        self.outc = nn.Conv2d(16, 2, 1)

    @staticmethod
    def up(x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
        x1 = F.interpolate(x1, scale_factor=2, mode="bilinear", align_corners=True)
        dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return torch.cat([x2, x1], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.up1(self.up(x3, x2))
        return self.outc(self.up2(self.up(x, x1)))


class ChannelAttention(nn.Module):
    """As in yulunzhang/RCAN."""

    def __init__(self, channel: int, reduction: int = 4) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(channel, channel // reduction, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channel // reduction, channel, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.conv_du(self.avg_pool(x))


class RCAN(nn.Module):
    """Residual groups, a mean shift by a fixed 1x1 convolution, and a pixel shuffle at the end."""

    def __init__(self, n_feats: int = 32, scale: int = 2, attention: bool = True) -> None:
        super().__init__()
        self.sub_mean = nn.Conv2d(3, 3, 1)
        self.sub_mean.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.sub_mean.bias.data = -torch.tensor([0.4488, 0.4371, 0.4040])
        for p in self.sub_mean.parameters():
            p.requires_grad = False
        self.head = nn.Conv2d(3, n_feats, 3, padding=1)
        body = []
        for _ in range(3):
            block = [nn.Conv2d(n_feats, 64, 3, padding=1), nn.ReLU(True)]
            block += [nn.Conv2d(64, n_feats, 3, padding=1)]
            body.append(nn.Sequential(*block, *([ChannelAttention(n_feats)] if attention else [])))
        self.body = nn.ModuleList(body)
        self.tail = nn.Sequential(
            nn.Conv2d(n_feats, n_feats * scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
            nn.Conv2d(n_feats, 3, 3, padding=1),
        )
        self.res_scale = 0.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.sub_mean(x)
        x = self.head(x)
        res = x
        for block in self.body:
            res = res + block(res).mul(self.res_scale)
        res += x
        return self.tail(res)


class Focus(nn.Module):
    """Space to depth by strided slices, as in ultralytics/yolov5, then by a view, as in TResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv4 = nn.Conv2d(256, 32, 1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat(
            [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1
        )
        x = F.leaky_relu(self.conv2(F.silu(self.conv(x))), 0.1)
        n, c, h, w = x.size()
        x = x.view(n, c, h // 2, 2, w // 2, 2)
        x = x.permute(0, 3, 5, 1, 2, 4).contiguous().view(n, c * 4, h // 2, w // 2)
        x = F.relu(self.conv3(x))
        x = F.pixel_unshuffle(x, 2)
        return self.fc(F.relu(self.conv4(x)).mean((2, 3)))


class FuseLayer(nn.Module):
    """HRNet: each branch becomes the sum of all, brought to its size."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.fuse_layers = nn.ModuleList()
        for i, cout in enumerate(channels):
            row = nn.ModuleList()
            for j, cin in enumerate(channels):
                if j > i:
                    row.append(nn.Sequential(nn.Conv2d(cin, cout, 1), nn.BatchNorm2d(cout)))
                elif j == i:
                    row.append(nn.Identity())
                else:
                    steps: list[nn.Module] = []
                    for k in range(i - j):
                        width = cout if k == i - j - 1 else cin
                        steps += [nn.Conv2d(cin, width, 3, 2, 1), nn.BatchNorm2d(width)]
                    row.append(nn.Sequential(*steps))
            self.fuse_layers.append(row)

    def forward(self, x: list[torch.Tensor]) -> list[torch.Tensor]:
        fused = []
        for i, row in enumerate(self.fuse_layers):
            y = None
            for j, layer in enumerate(row):
                z = layer(x[j])
                if j > i:
                    z = F.interpolate(z, size=x[i].shape[-2:], mode="bilinear", align_corners=True)
                y = z if y is None else y + z
            fused.append(F.relu(y))
        return fused


class HRNet(nn.Module):
    """Three resolutions, fused twice, then all concatenated."""

    def __init__(self) -> None:
        super().__init__()
        widths = [16, 32, 64]
        self.stems = nn.ModuleList(nn.Conv2d(3, c, 3, 2**i, 1) for i, c in enumerate(widths))
        self.blocks = nn.ModuleList(DoubleConv(c, c) for c in widths)
        self.fuse1, self.fuse2 = FuseLayer(widths), FuseLayer(widths)
        self.head = nn.Conv2d(sum(widths), 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ys = self.fuse1([stem(x) for stem in self.stems])
        ys = [block(y) for block, y in zip(self.blocks, ys, strict=True)]
        ys = self.fuse2(ys)
        h, w = ys[0].size(2), ys[0].size(3)
        up = [ys[0], *(F.interpolate(y, size=(h, w), mode="bilinear") for y in ys[1:])]
        return self.head(torch.cat(up, 1))


class BiFPN(nn.Module):
    """Fast normalised fusion by learned weights, as in zylo117/Yet-Another-EfficientDet."""

    def __init__(self, c: int = 32) -> None:
        super().__init__()
        self.p3, self.p4 = nn.Conv2d(3, 24, 3, 2, 1), nn.Conv2d(24, 48, 3, 2, 1)
        self.p5 = nn.Conv2d(48, 64, 3, 2, 1)
        self.lateral = nn.ModuleList(nn.Conv2d(k, c, 1) for k in (24, 48, 64))
        self.w1 = nn.Parameter(torch.ones(2, 2))
        self.w2 = nn.Parameter(torch.ones(3))
        self.conv4_up, self.conv3_up, self.conv4_down = (self.separable(c) for _ in range(3))
        self.epsilon = 1e-4
        self.classifier = nn.Conv2d(c, 18, 3, padding=1)

    @staticmethod
    def separable(c: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False),
            nn.Conv2d(c, c, 1),
            nn.BatchNorm2d(c, momentum=0.01, eps=1e-3),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        c3 = F.silu(self.p3(x))
        c4 = F.silu(self.p4(c3))
        c5 = F.silu(self.p5(c4))
        p3, p4, p5 = (conv(c) for conv, c in zip(self.lateral, (c3, c4, c5), strict=True))
        w1 = F.relu(self.w1)
        w1 = w1 / (w1.sum(dim=0) + self.epsilon)
        p4_up = self.conv4_up(F.silu(w1[0, 0] * p4 + w1[1, 0] * F.interpolate(p5, scale_factor=2)))
        p3 = self.conv3_up(F.silu(w1[0, 1] * p3 + w1[1, 1] * F.interpolate(p4_up, scale_factor=2)))
        w2 = torch.relu(self.w2)
        weight = w2 / (torch.sum(w2, dim=0) + self.epsilon)
        pooled = F.max_pool2d(F.pad(p3, (0, 1, 0, 1)), 3, 2)
        p4 = self.conv4_down(F.silu(weight[0] * p4 + weight[1] * p4_up + weight[2] * pooled))
        return tuple(
            self.classifier(p).permute(0, 2, 3, 1).contiguous().view(x.shape[0], -1, 6)
            for p in (p3, p4)
        )


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "unet_skip_padded": lambda: (UNet(), pictures(2, 3, 34, 38)),
    "edsr": lambda: (RCAN(attention=False), pictures(2, 3, 16, 16)),
    "rcan": lambda: (RCAN(), pictures(2, 3, 16, 16)),
    "focus_space_to_depth": lambda: (Focus(), pictures(2, 3, 32, 32)),
    "hrnet_fusion": lambda: (HRNet(), pictures(2, 3, 16, 16)),
    "bifpn": lambda: (BiFPN(), pictures(2, 3, 32, 32)),
}
