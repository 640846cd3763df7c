"""e3nn: features that turn with the points they belong to, small."""

from __future__ import annotations

from typing import Any

import torch
from e3nn import o3
from e3nn.nn import BatchNorm, FullyConnectedNet, Gate
from torch import nn

from benchmarks.zoos.libraries import Builder


def _linear() -> tuple[nn.Module, Any]:
    first = o3.Linear("8x0e + 4x1o", "12x0e + 6x1o")
    second = o3.Linear("12x0e + 6x1o", "4x0e + 2x1o")
    return nn.Sequential(first, BatchNorm("12x0e + 6x1o"), second), torch.randn(3, 20)


def _gated() -> tuple[nn.Module, Any]:
    gate = Gate("8x0e", [torch.relu], "4x0e", [torch.sigmoid], "4x1o")
    first = o3.Linear("8x0e + 4x1o", gate.irreps_in)
    return nn.Sequential(first, gate, o3.Linear(gate.irreps_out, "4x0e")), torch.randn(3, 20)


def _radial() -> tuple[nn.Module, Any]:
    return FullyConnectedNet([6, 16, 16, 4], torch.relu), torch.randn(5, 6)


def _tensor_product() -> tuple[nn.Module, Any]:
    product = o3.FullyConnectedTensorProduct("8x0e + 4x1o", "1x0e + 1x1o", "8x0e + 4x1o")
    return product, (torch.randn(3, 20), torch.randn(3, 4))


MODELS: dict[str, Builder] = {
    "gated": _gated,
    "linear": _linear,
    "radial": _radial,
    "tensor_product": _tensor_product,
}
