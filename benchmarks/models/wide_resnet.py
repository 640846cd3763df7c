"""Wide residual network (Zagoruyko and Komodakis 2016) with pre-activation blocks, CIFAR form."""

from __future__ import annotations

import torch
from torch import nn


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each 3x3 convolution; a 1x1 shortcut where the width changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        active = torch.relu(self.bn1(x))
        # The projection reads the activated input, the identity the raw one, as in the original.
        straight = x if self.shortcut is None else self.shortcut(active)
        return self.conv2(torch.relu(self.bn2(self.conv1(active)))) + straight


class WideResNet(nn.Module):
    """WideResNet-``depth``-``width``, depth = 6n + 4; (B, 3, 32, 32) to (B, classes)."""

    def __init__(self, depth: int = 28, width: int = 10, classes: int = 10) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6n + 4 with n of at least 1, not {depth}")
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        layers: list[nn.Module] = []
        inputs = 16
        for stage in range(3):
            outputs = (16 << stage) * width
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(PreActivationBlock(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores of a batch of images."""
        x = torch.relu(self.bn(self.blocks(self.conv1(x))))
        return self.linear(x.mean((2, 3)))
