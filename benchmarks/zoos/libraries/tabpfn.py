"""tabpfn: tables whose labelled rows are part of the input, small."""

from __future__ import annotations

from typing import Any

import torch
from tabpfn.architectures.tabpfn_v2 import TabPFNV2, TabPFNV2Config
from torch import nn

from benchmarks.zoos.libraries import Builder


def _table() -> tuple[nn.Module, Any]:
    config = TabPFNV2Config(
        emsize=32, nlayers=2, nhead=4, features_per_group=2, max_num_classes=3, num_buckets=10
    )
    model = TabPFNV2(config=config, n_out=3)
    rows, batch = 12, 2
    labels = torch.randint(0, 3, (8, batch)).float()
    return model, (torch.randn(rows, batch, 6), labels)


MODELS: dict[str, Builder] = {"v2": _table}
