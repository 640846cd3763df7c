"""encodec: audio codecs and the language model upon their codes, small."""

from __future__ import annotations

from typing import Any

import torch
from encodec.model import EncodecModel, LMModel
from encodec.modules import SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer
from torch import nn

from benchmarks.zoos.libraries import Builder


def _codec(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        sizes = {"dimension": 16, "n_filters": 4, "ratios": [4, 2], "norm": "weight_norm"} | options
        quantizer = ResidualVectorQuantizer(dimension=16, n_q=2, bins=32, kmeans_init=False)
        model = EncodecModel(
            SEANetEncoder(**sizes), SEANetDecoder(**sizes), quantizer, [3.0], 8000, 1
        )
        return model, torch.randn(2, 1, 400)

    return build


def _encoder() -> tuple[nn.Module, Any]:
    return SEANetEncoder(dimension=16, n_filters=8, ratios=[4, 2]), torch.randn(2, 1, 400)


def _language() -> tuple[nn.Module, Any]:
    model = LMModel(n_q=4, card=32, dim=32, num_heads=4, num_layers=2)
    return model, torch.randint(0, 32, (2, 4, 10))


MODELS: dict[str, Builder] = {
    "codec": _codec(),
    "codec_causal": _codec(causal=True),
    "codec_group_norm": _codec(norm="time_group_norm", lstm=0),
    "encoder": _encoder,
    "language": _language,
}
