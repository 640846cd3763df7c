"""openunmix: separation of music, small."""

from __future__ import annotations

from typing import Any

import torch
from openunmix.model import OpenUnmix, Separator
from torch import nn

from benchmarks.zoos.libraries import Builder


def _spectrogram(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = OpenUnmix(nb_bins=33, hidden_size=32, nb_layers=2, **options)
        return model, torch.rand(2, 2, 33, 12)

    return build


def _separator() -> tuple[nn.Module, Any]:
    targets = {name: OpenUnmix(nb_bins=33, hidden_size=32, nb_layers=1) for name in ("a", "b")}
    return Separator(targets, n_fft=64, n_hop=16), torch.randn(1, 2, 800)


MODELS: dict[str, Builder] = {
    "causal": _spectrogram(unidirectional=True),
    "separator": _separator,
    "spectrogram": _spectrogram(),
    "spectrogram_cut": _spectrogram(max_bin=24),
}
