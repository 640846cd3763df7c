"""demucs: separation of sources from waves and spectrograms."""

from __future__ import annotations

from typing import Any

import torch
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from torch import nn

from benchmarks.zoos.libraries import Builder

SOURCES = ["drums", "vocals"]


def _wave(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = Demucs(SOURCES, channels=8, depth=3, resample=False, **options)
        return model, torch.randn(2, 2, 2048)

    return build


def _hybrid(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = HDemucs(SOURCES, channels=4, **options)
        return model, torch.randn(1, 2, 16384)

    return build


def _transformer() -> tuple[nn.Module, Any]:
    model = HTDemucs(
        SOURCES,
        channels=8,
        depth=3,
        nfft=512,
        t_layers=2,
        t_heads=4,
        bottom_channels=32,
        samplerate=8000,
        segment=1,
    )
    return model, torch.randn(1, 2, 8000)


MODELS: dict[str, Builder] = {
    "demucs": _wave(),
    "demucs_lstm": _wave(lstm_layers=1),
    "demucs_relu": _wave(gelu=False, glu=False),
    "hdemucs": _hybrid(),
    "htdemucs": _transformer,
}
