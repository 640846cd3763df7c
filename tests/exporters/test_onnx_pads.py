"""A zero that is padded before a maximum is the maximum of negative values, in ONNX too."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from graphprune import compress, verify
from graphprune.errors import CertificateError
from graphprune.exporters import onnx as exporter


class PaddedPool(nn.Module):
    """Padding as TensorFlow has it, before a pool of negative values (EfficientDet)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = -0.5 - self.first(x).abs()
        return self.last(F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2))


def save(folder: Path) -> None:
    torch.manual_seed(0)
    compress(PaddedPool().eval(), torch.randn(2, 3, 8, 8), method="l2").save(folder)


def test_padding_before_a_maximum_is_no_part_of_it(tmp_path: Path) -> None:
    save(tmp_path / "out")
    assert verify(tmp_path / "out").passed
    graph = onnx.load(tmp_path / "out" / "model.onnx").graph
    (pad,) = [node for node in graph.node if node.op_type == "Pad"]
    axes = next(each for each in graph.initializer if each.name == pad.input[3])
    assert onnx.numpy_helper.to_array(axes).tolist() == [0, 1, 2, 3]


def test_otherwise_onnxruntime_would_merge_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "keep_pads_apart", lambda model: None)
    with pytest.raises(CertificateError, match="onnxruntime against PyTorch"):
        save(tmp_path / "out")
