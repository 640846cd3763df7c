"""VGG-16 with batch normalisation in its CIFAR form (Simonyan and Zisserman 2015)."""

from __future__ import annotations

import torch
from torch import nn

# Output channels of the 13 convolutions; "M" is a 2x2 max pooling.
PLAN: tuple[int | str, ...] = (
    *(64, 64, "M", 128, 128, "M", 256, 256, 256, "M"),
    *(512, 512, 512, "M", 512, 512, 512, "M"),
)


class Vgg16Bn(nn.Module):
    """13 convolutions with batch norm, then two linear layers; (B, 3, 32, 32) to (B, classes).

    ``share`` of the channels of every layer are there: 1 is the network of the literature.
    """

    def __init__(self, classes: int = 10, share: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for entry in PLAN:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2))
                continue
            width = round(entry * share)
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.features = nn.Sequential(*layers)
        hidden = round(512 * share)
        self.classifier = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores of a batch of images."""
        return self.classifier(self.features(x).flatten(1))
