"""esm: language models of proteins, small."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from esm.data import Alphabet
from esm.model.esm1 import ProteinBertModel
from esm.model.esm2 import ESM2
from esm.model.msa_transformer import MSATransformer
from torch import nn

from benchmarks.zoos.libraries import Builder

SIZES: dict[str, Any] = {
    "layers": 2,
    "embed_dim": 32,
    "ffn_embed_dim": 48,
    "attention_heads": 4,
    "max_positions": 64,
    "max_tokens": 256,
    "embed_positions_msa": True,
    "emb_layer_norm_before": True,
    "token_dropout": True,
    "final_bias": True,
    "logit_bias": True,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "max_tokens_per_msa": 256,
}


def _tokens(*shape: int) -> torch.Tensor:
    return torch.randint(4, 24, shape)


def _bert(arch: str) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        alphabet = Alphabet.from_architecture("ESM-1b" if arch == "roberta_large" else "ESM-1")
        model = ProteinBertModel(Namespace(arch=arch, **SIZES), alphabet)
        return model, _tokens(2, 12)

    return build


def _esm2(**extra: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = ESM2(num_layers=2, embed_dim=32, attention_heads=4)
        return model, ((_tokens(2, 12),), extra)

    return build


def _alignment() -> tuple[nn.Module, Any]:
    args = Namespace(arch="msa_transformer", **SIZES)
    return MSATransformer(args, Alphabet.from_architecture("msa_transformer")), _tokens(1, 5, 12)


MODELS: dict[str, Builder] = {
    "esm1": _bert("protein_bert_base"),
    "esm1b": _bert("roberta_large"),
    "esm2": _esm2(),
    "esm2_contacts": _esm2(return_contacts=True),
    "esm2_layers": _esm2(repr_layers=[1, 2]),
    "msa_transformer": _alignment,
}
