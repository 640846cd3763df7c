"""tsai: its networks for time series, each once."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from tsai.models import all as tsai_models

from benchmarks.zoos.libraries import Builder

BATCH, VARIABLES, CLASSES, LENGTH = 4, 3, 5, 48
TABLE: dict[str, Any] = {
    "classes": {"colour": ["a", "b", "c"], "shape": ["d", "e"]},
    "cont_names": ["width", "height"],
    "d_model": 16,
    "n_layers": 2,
    "n_heads": 4,
}


def _series(name: str, /, *, length: bool = True, **options: Any) -> Builder:
    """A network for series; some are told their length."""

    def build() -> tuple[nn.Module, Any]:
        known = {"seq_len": LENGTH} if length else {}
        model = getattr(tsai_models, name)(VARIABLES, CLASSES, **known, **options)
        return model, torch.randn(BATCH, VARIABLES, LENGTH)

    return build


def _forecaster(**options: Any) -> Builder:
    return _series(
        "PatchTST",
        **({"d_model": 32, "n_heads": 4, "d_ff": 48, "patch_len": 8, "pred_dim": 6} | options),
    )


def _chosen() -> torch.Tensor:
    return torch.stack([torch.randint(0, n, (BATCH,)) for n in (3, 2)], dim=1)


def _table(name: str) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = getattr(tsai_models, name)(c_out=CLASSES, **TABLE)
        return model, (_chosen(), torch.randn(BATCH, 2))

    return build


def _perceiver() -> tuple[nn.Module, Any]:
    model = tsai_models.TSPerceiver(
        VARIABLES,
        CLASSES,
        LENGTH,
        n_latents=8,
        d_latent=32,
        n_layers=2,
        self_n_heads=4,
        cross_n_heads=2,
    )
    return model, torch.randn(BATCH, VARIABLES, LENGTH)


TST = {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_ff": 48}

MODELS: dict[str, Builder] = {
    "ConvTranPlus": _series("ConvTranPlus", n_heads=8, dim_ff=32),
    "FCN": _series("FCN", length=False, layers=[16, 24, 16]),
    "FCNPlus": _series("FCNPlus", length=False, layers=[16, 24, 16], residual=True),
    "InceptionTime": _series("InceptionTime", nf=8, ks=15, depth=3),
    "InceptionTimePlus": _series("InceptionTimePlus", nf=8, ks=15, depth=3, se=4),
    "XCoordTime": _series("XCoordTime", nf=8, ks=15, depth=3),
    "MLP": _series("MLP", layers=[32, 32, 32]),
    "OmniScaleCNN": _series("OmniScaleCNN", layers=[256, 512]),
    "PatchTST": _forecaster(),
    "PatchTST_decomposition": _forecaster(decomposition=True),
    "PatchTST_individual": _forecaster(individual=True),
    "RNN": _series("RNN", length=False, hidden_size=24, n_layers=2),
    "LSTM": _series("LSTM", length=False, hidden_size=24, bidirectional=True),
    "GRU": _series("GRU", length=False, hidden_size=24),
    "LSTMPlus": _series("LSTMPlus", hidden_size=24),
    "LSTMAttention": _series("LSTMAttention", hidden_size=24, encoder_layers=1, n_heads=4, d_ff=32),
    "LSTM_FCN": _series("LSTM_FCN", hidden_size=16, conv_layers=[16, 24, 16]),
    "MLSTM_FCN": _series("MLSTM_FCN", hidden_size=16, conv_layers=[16, 24, 16], se=4),
    "GRU_FCNPlus": _series("GRU_FCNPlus", hidden_size=16, conv_layers=[16, 24, 16]),
    "ResCNN": _series("ResCNN", length=False),
    "ResNet": _series("ResNet", length=False),
    "ResNetPlus": _series("ResNetPlus", nf=12),
    "TCN": _series("TCN", length=False, layers=3 * [16]),
    "TSPerceiver": _perceiver,
    "TSSequencerPlus": _series("TSSequencerPlus", d_model=32, depth=2),
    "TST": _series("TST", **TST),
    "TSTPlus": _series("TSTPlus", **TST),
    "TSiTPlus": _series("TSiTPlus", d_model=32, depth=2, n_heads=4),
    "TransformerModel": _series("TransformerModel", length=False, d_model=32, d_ffn=48),
    "TransformerLSTMPlus": _series("TransformerLSTMPlus", d_model=32, nhead=4),
    "XCM": _series("XCM", nf=16),
    "XCMPlus": _series("XCMPlus", nf=16),
    "xresnet1d18": _series("xresnet1d18", length=False),
    "xresnet1d18plus": _series("xresnet1d18plus", length=False),
    "XceptionTime": _series("XceptionTime", length=False, nf=4, adaptive_size=10),
    "XceptionTimePlus": _series("XceptionTimePlus", nf=4, adaptive_size=10),
    "gMLP": _series("gMLP", patch_size=4, d_model=32, d_ffn=48, depth=2),
    "TabTransformer": _table("TabTransformer"),
    "TabFusionTransformer": _table("TabFusionTransformer"),
    "GatedTabTransformer": _table("GatedTabTransformer"),
}
