"""deepctr_torch: rates of clicks from tables of features, small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from deepctr_torch.inputs import DenseFeat, SparseFeat, VarLenSparseFeat
from deepctr_torch.models import (
    AFM,
    AFN,
    CCPM,
    DCN,
    DIEN,
    DIFM,
    DIN,
    ESMM,
    IFM,
    MLR,
    MMOE,
    NFM,
    ONN,
    PLE,
    PNN,
    WDL,
    AutoInt,
    DCNMix,
    DeepFM,
    FiBiNET,
    SharedBottom,
    xDeepFM,
)
from torch import nn

from benchmarks.zoos.libraries import Builder

COLUMNS = [SparseFeat(f"kind_{i}", 12, embedding_dim=8) for i in range(4)]
COLUMNS += [DenseFeat(f"amount_{i}", 1) for i in range(2)]
BEHAVIOUR = [
    SparseFeat("item", 12, embedding_dim=8),
    VarLenSparseFeat(
        SparseFeat("hist_item", 12, embedding_dim=8, embedding_name="item"), 5, length_name="length"
    ),
    DenseFeat("amount", 1),
]


def _rows() -> torch.Tensor:
    return torch.cat([torch.randint(0, 12, (4, 4)).float(), torch.randn(4, 2)], 1)


def _pair(cls: Callable[..., nn.Module], **options: Any) -> Builder:
    return lambda: (cls(COLUMNS, COLUMNS, **options), _rows())


def _kinds(cls: Callable[..., nn.Module], **options: Any) -> Builder:
    return lambda: (cls(COLUMNS[:4], COLUMNS[:4], **options), _rows()[:, :4])


def _deep(cls: Callable[..., nn.Module], **options: Any) -> Builder:
    return lambda: (cls(COLUMNS, **options), _rows())


def _several(cls: Callable[..., nn.Module], **options: Any) -> Builder:
    tasks = {"task_types": ("binary", "binary"), "task_names": ("a", "b")}
    return lambda: (cls(COLUMNS, **tasks, **options), _rows())


def _history(cls: Callable[..., nn.Module], **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = cls(BEHAVIOUR, ["item"], dnn_hidden_units=(16,), **options)
        items = torch.randint(1, 12, (4, 6)).float()
        # the columns in the order of the features: item, history, its length, amount
        rows = torch.cat([items, torch.tensor([[5.0], [3.0], [2.0], [4.0]]), torch.randn(4, 1)], 1)
        return model, rows

    return build


DNN: dict[str, Any] = {"dnn_hidden_units": (32, 16)}

MODELS: dict[str, Builder] = {
    "afm": _kinds(AFM, attention_factor=6),
    "afn": _pair(AFN, ltl_hidden_size=16, afn_dnn_hidden_units=(16, 8)),
    "autoint": _pair(AutoInt, att_layer_num=2, **DNN),
    "ccpm": _kinds(CCPM, conv_kernel_width=(3, 2), conv_filters=(4, 4), dnn_hidden_units=(16,)),
    "dcn": _pair(DCN, **DNN),
    "dcn_matrix": _pair(DCN, cross_parameterization="matrix", **DNN),
    "dcn_mix": _pair(DCNMix, low_rank=8, num_experts=3, **DNN),
    "deepfm": _pair(DeepFM, **DNN),
    "dien": _history(DIEN, gru_type="AUGRU"),
    "difm": _pair(DIFM, att_head_num=4, **DNN),
    "din": _history(DIN),
    "esmm": lambda: (ESMM(COLUMNS, tower_dnn_hidden_units=(16, 8)), _rows()),
    "fibinet": _pair(FiBiNET, **DNN),
    "ifm": _pair(IFM, **DNN),
    "mlr": _deep(MLR, region_num=3),
    "mmoe": _several(
        MMOE,
        expert_dnn_hidden_units=(16,),
        gate_dnn_hidden_units=(8,),
        tower_dnn_hidden_units=(8,),
    ),
    "nfm": _pair(NFM, **DNN),
    "onn": _pair(ONN, **DNN),
    "ple": _several(
        PLE,
        expert_dnn_hidden_units=(16,),
        gate_dnn_hidden_units=(8,),
        tower_dnn_hidden_units=(8,),
    ),
    "pnn": _deep(PNN, use_outter=True, kernel_type="mat", **DNN),
    "shared_bottom": _several(
        SharedBottom, bottom_dnn_hidden_units=(32, 16), tower_dnn_hidden_units=(8,)
    ),
    "wide_deep": _pair(WDL, **DNN),
    "xdeepfm": _pair(xDeepFM, cin_layer_size=(8, 6), **DNN),
}
