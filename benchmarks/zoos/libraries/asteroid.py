"""asteroid: separation and enhancement of speech, small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from asteroid.models import (
    ConvTasNet,
    DCUNet,
    DeMask,
    DPRNNTasNet,
    DPTNet,
    LSTMTasNet,
    SuDORMRFImprovedNet,
    SuDORMRFNet,
)
from asteroid.models.fasnet import FasNetTAC
from torch import nn

from benchmarks.zoos.libraries import Builder

BANK = {"n_filters": 32, "kernel_size": 16, "stride": 8}


def _wave(cls: Callable[..., nn.Module], *args: Any, length: int = 800, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return cls(*args, **options), torch.randn(2, 1, length)

    return build


def _tasnet(**options: Any) -> Builder:
    sizes = {"n_blocks": 2, "n_repeats": 2, "bn_chan": 16, "hid_chan": 32, "skip_chan": 16}
    return _wave(ConvTasNet, 2, **{**sizes, **BANK, **options})


def _microphones() -> tuple[nn.Module, Any]:
    sizes = {"enc_dim": 16, "feature_dim": 16, "hidden_dim": 16, "n_layers": 2}
    return FasNetTAC(2, tac_hidden_dim=24, chunk_size=10, hop_size=5, **sizes), torch.randn(
        2, 3, 1600
    )


MODELS: dict[str, Builder] = {
    "conv_tasnet": _tasnet(),
    "conv_tasnet_causal": _tasnet(causal=True, norm_type="cLN", mask_act="relu"),
    "conv_tasnet_plain": _tasnet(skip_chan=0, norm_type="bN"),
    "dcunet": _wave(
        DCUNet,
        "mini",
        fix_length_mode="pad",
        stft_n_filters=64,
        stft_kernel_size=64,
        stft_stride=16,
    ),
    "demask": _wave(DeMask, hidden_dims=(32,), n_filters=64, kernel_size=64, stride=32),
    "dprnn": _wave(DPRNNTasNet, 2, bn_chan=16, hid_size=16, chunk_size=20, n_repeats=2, **BANK),
    "dprnn_mulcat": _wave(
        DPRNNTasNet, 2, bn_chan=16, hid_size=16, chunk_size=20, n_repeats=1, use_mulcat=True, **BANK
    ),
    "dptnet": _wave(DPTNet, 2, ff_hid=16, chunk_size=20, n_repeats=2, **BANK),
    "fasnet": _microphones,
    "lstm_tasnet": _wave(LSTMTasNet, 2, n_layers=2, hid_size=16, **BANK),
    "sudormrf": _wave(SuDORMRFNet, 2, bn_chan=16, num_blocks=2, n_filters=32),
    "sudormrf_improved": _wave(SuDORMRFImprovedNet, 2, bn_chan=16, num_blocks=2, n_filters=32),
}
