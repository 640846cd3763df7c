"""The certificate on well-known networks: shrunk equals masked, names and outputs stay."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from engine_oracle import LIMIT, compress, prune, state_names

from benchmarks.models import build
from benchmarks.models.randomise import randomise
from benchmarks.models.wide_resnet import WideResNet
from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture

OF_TORCHVISION = ("resnet50", "mobilenet_v2", "densenet121", "resnext50_32x4d")
NAMES = ("lenet5", "vgg16_bn", "resnet56", "wide_resnet28_10", "vit", "vit_unfused")
NAMES += OF_TORCHVISION


def _analysed(name: str) -> tuple[Captured, Analysis, set[str]]:
    model, inputs = build(name)
    before = copy.deepcopy(model.state_dict())
    captured = capture(model, inputs)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} of the caller's model has changed"
    return captured, analyse(captured.module), set(before)


@pytest.mark.parametrize("name", NAMES)
def test_certificate(name: str) -> None:
    if name in OF_TORCHVISION and importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    captured, analysis, names = _analysed(name)
    half = prune(captured, analysis, "channels=0.5", seed=0)
    assert half.error <= LIMIT
    assert half.params_kept <= 0.6
    assert state_names(half.small) == names
    if name == "wide_resnet28_10":  # 36 million parameters: once is enough
        return
    ratio = torch.rand(1, generator=torch.Generator().manual_seed(sum(map(ord, name)))).item()
    other = prune(captured, analysis, f"channels={0.15 + 0.7 * ratio:.3f}", seed=1)
    assert other.error <= LIMIT
    assert other.params_kept < 1
    assert state_names(other.small) == names


def test_small_wide_resnet_at_several_ratios() -> None:
    torch.manual_seed(0)
    model = randomise(WideResNet(depth=10, width=2), torch.randn(8, 3, 16, 16))
    for seed, target in enumerate(("channels=0.2", "channels=0.77", "params=0.3", "macs=0.6")):
        assert compress(model, torch.randn(2, 3, 16, 16), target, seed=seed).error <= LIMIT
