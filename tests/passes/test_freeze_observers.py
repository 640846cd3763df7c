"""Quantisation-aware models are shrunk, with the ranges that training has found."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import graphprune

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.ao import quantization


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.first, self.norm, self.act = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU()
        self.second, self.head = nn.Conv2d(16, 24, 3), nn.Linear(24, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.first(self.quant(x))))
        x = self.act(self.second(x)).mean((2, 3))
        return self.dequant(self.head(x))


@pytest.fixture(scope="module")
def aware() -> nn.Module:
    """A network that learns how it will be rounded, weights by channel, activations by tensor."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = _Network().train()
        model = quantization.fuse_modules_qat(model, [["first", "norm", "act"]])
        model.qconfig = quantization.get_default_qat_qconfig("x86")
        model = quantization.prepare_qat(model)
    for _ in range(3):
        model(torch.randn(8, 3, 12, 12))
    return model.eval()


def _targets(module: torch.fx.GraphModule) -> set[str]:
    return {str(node.target) for node in module.graph.nodes if node.op == "call_function"}


def test_it_is_shrunk_and_proved(aware: nn.Module, tmp_path: Path) -> None:
    result = graphprune.compress(aware, torch.randn(2, 3, 12, 12), method="l2", target="params=0.4")
    kept = result.plan.kept["first.weight"][0]
    assert len(kept) < 16
    assert result.plan.kept["first.weight_fake_quant.scale"][0] == kept
    folder = result.save(tmp_path / "small", latency=False)
    assert set(graphprune.verify(folder).onnx_error) == {2, 3}, "the batch is free"


def test_it_computes_what_the_model_does_with_its_observers_off(aware: nn.Module) -> None:
    x = torch.randn(5, 3, 12, 12)
    captured = graphprune.capture(aware, torch.randn(2, 3, 12, 12))
    aware.apply(quantization.disable_observer)
    try:
        expected = aware(x)
    finally:
        aware.apply(quantization.enable_observer)
    torch.testing.assert_close(captured.module(x), expected)
    assert "aten.fused_moving_avg_obs_fake_quant.default" not in _targets(captured.module)


def test_rounding_that_is_switched_off_is_dropped(aware: nn.Module) -> None:
    aware.apply(quantization.disable_fake_quant)
    try:
        captured = graphprune.capture(aware, torch.randn(2, 3, 12, 12))
    finally:
        aware.apply(quantization.enable_fake_quant)
    assert not any("fake_quant" in target for target in _targets(captured.module))
