"""vocos: waves from spectrograms by an inverse Fourier transform, small."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from vocos.heads import ISTFTHead
from vocos.models import VocosBackbone, VocosResNetBackbone

from benchmarks.zoos.libraries import Builder


class _Vocoder(nn.Module):
    """Backbone and head, as ``Vocos.decode`` calls them."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, features: torch.Tensor) -> Any:
        """Waves of features (batch, bins, frames)."""
        return self.head(self.backbone(features))


def _istft() -> tuple[nn.Module, Any]:
    backbone = VocosBackbone(input_channels=20, dim=24, intermediate_dim=48, num_layers=2)
    head = ISTFTHead(dim=24, n_fft=64, hop_length=16, padding="same")
    return _Vocoder(backbone, head), torch.randn(2, 20, 12)


def _centred() -> tuple[nn.Module, Any]:
    backbone = VocosResNetBackbone(input_channels=20, dim=24, num_blocks=2)
    head = ISTFTHead(dim=24, n_fft=64, hop_length=16, padding="center")
    return _Vocoder(backbone, head), torch.randn(2, 20, 12)


MODELS: dict[str, Builder] = {"centred": _centred, "istft": _istft}
