"""speechbrain: recognition, separation and synthesis of speech, small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from speechbrain.lobes.models.Cnn14 import Cnn14
from speechbrain.lobes.models.ContextNet import ContextNet
from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
from speechbrain.lobes.models.CRDNN import CRDNN
from speechbrain.lobes.models.DiffWave import DiffWave
from speechbrain.lobes.models.dual_path import SepformerWrapper
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.HifiGAN import HifiganGenerator
from speechbrain.lobes.models.MetricGAN import MetricDiscriminator
from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR
from speechbrain.lobes.models.wav2vec import W2VLatentExtractor
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.nnet.RNN import LSTM, AttentionalRNNDecoder, LiGRU, QuasiRNN
from speechbrain.nnet.unet import UNetModel
from torch import nn

from benchmarks.zoos.libraries import Builder


def _frames(cls: Callable[..., nn.Module], *sizes: int, **options: Any) -> Builder:
    return lambda: (cls(**options), torch.randn(2, *sizes))


def _recogniser(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = TransformerASR(
            tgt_vocab=30,
            input_size=24,
            d_model=32,
            nhead=4,
            num_encoder_layers=2,
            num_decoder_layers=1,
            d_ffn=48,
            normalize_before=True,
            causal=False,
            **options,
        )
        return model, (torch.randn(2, 40, 24), torch.randint(1, 30, (2, 5)))

    return build


def _generator() -> tuple[nn.Module, Any]:
    model = HifiganGenerator(
        in_channels=16,
        out_channels=1,
        resblock_type="1",
        resblock_dilation_sizes=[[1, 3, 5], [1, 3, 5]],
        resblock_kernel_sizes=[3, 5],
        upsample_kernel_sizes=[8, 4],
        upsample_initial_channel=32,
        upsample_factors=[4, 2],
    )
    return model, torch.randn(2, 16, 20)


def _waves() -> tuple[nn.Module, Any]:
    model = DiffWave(
        input_channels=80,
        residual_layers=3,
        residual_channels=16,
        dilation_cycle_length=3,
        total_steps=50,
    )
    return model, (torch.randn(2, 1, 1024), torch.tensor([3, 7]), torch.randn(2, 80, 4))


def _unet() -> tuple[nn.Module, Any]:
    model = UNetModel(
        in_channels=2,
        model_channels=16,
        out_channels=2,
        num_res_blocks=1,
        attention_resolutions=[2],
        channel_mult=(1, 2),
        norm_num_groups=4,
        num_heads=2,
    )
    return model, (torch.randn(2, 2, 16, 16), torch.tensor([1, 5]))


def _decoder() -> tuple[nn.Module, Any]:
    model = AttentionalRNNDecoder(
        rnn_type="gru",
        attn_type="location",
        hidden_size=24,
        attn_dim=16,
        num_layers=1,
        enc_dim=20,
        input_size=12,
        channels=4,
        kernel_size=5,
    )
    return model, (torch.randn(2, 4, 12), torch.randn(2, 9, 20), torch.ones(2))


ECAPA: dict[str, Any] = {
    "channels": [32, 32, 32, 32, 96],
    "attention_channels": 16,
    "res2net_scale": 4,
    "se_channels": 16,
    "lin_neurons": 24,
}

MODELS: dict[str, Builder] = {
    "asr_branchformer": _recogniser(
        encoder_module="branchformer", attention_type="RelPosMHAXL", csgu_linear_units=64
    ),
    "asr_conformer": _recogniser(encoder_module="conformer", attention_type="RelPosMHAXL"),
    "asr_hypermixing": _recogniser(attention_type="hypermixing"),
    "asr_transformer": _recogniser(),
    "cnn14": _frames(Cnn14, 64, 32, mel_bins=32, emb_dim=24),
    "contextnet": _frames(
        ContextNet,
        24,
        20,
        input_shape=(2, 24, 20),
        out_channels=24,
        num_blocks=4,
        inner_dim=4,
        conv_channels=[16, 16, 24, 24],
        strides=[1, 2, 1, 1],
        residuals=[False, True, True, True],
        num_layers=2,
    ),
    "convolution_front_end": _frames(
        ConvolutionFrontEnd, 16, 20, input_shape=(2, 16, 20), out_channels=[8, 12, 16]
    ),
    "crdnn": _frames(
        CRDNN,
        16,
        20,
        input_shape=(2, 16, 20),
        cnn_channels=[8, 12],
        rnn_layers=1,
        rnn_neurons=16,
        dnn_neurons=24,
    ),
    "crdnn_lstm": _frames(
        CRDNN,
        16,
        20,
        input_shape=(2, 16, 20),
        cnn_channels=[8, 12],
        rnn_class=LSTM,
        rnn_layers=1,
        rnn_neurons=16,
        dnn_neurons=24,
        projection_dim=20,
    ),
    "decoder": _decoder,
    "diffwave": _waves,
    "ecapa_tdnn": _frames(ECAPA_TDNN, 30, 20, input_size=20, **ECAPA),
    "ecapa_tdnn_local": _frames(ECAPA_TDNN, 30, 20, input_size=20, global_context=False, **ECAPA),
    "hifigan": _generator,
    "ligru": _frames(LiGRU, 8, 20, hidden_size=16, input_shape=(2, 8, 20), num_layers=2),
    "metric_discriminator": _frames(
        MetricDiscriminator, 2, 40, 40, kernel_size=(5, 5), base_channels=8
    ),
    "quasi_rnn": _frames(QuasiRNN, 8, 20, hidden_size=16, input_shape=(2, 8, 20), num_layers=2),
    "sepformer": _frames(
        SepformerWrapper,
        160,
        encoder_out_nchannels=32,
        masknet_chunksize=8,
        masknet_numlayers=1,
        intra_numlayers=1,
        inter_numlayers=1,
        intra_nhead=4,
        inter_nhead=4,
        intra_dffn=48,
        inter_dffn=48,
    ),
    "unet": _unet,
    "wav2vec_extractor": _frames(
        W2VLatentExtractor,
        800,
        out_channels=[16, 24, 24],
        kernel_sizes=[11, 3, 3],
        strides=[5, 2, 2],
    ),
    "xvector": _frames(
        Xvector,
        30,
        20,
        in_channels=20,
        tdnn_channels=[24, 24, 24, 24, 48],
        lin_neurons=24,
    ),
}
