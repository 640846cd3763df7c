"""Whoever learns turns gradients on for itself."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.importance.learn import LearnConfig, learn_switches
from graphprune.importance.scoring import score_channels
from graphprune.switches.placement import switch_sites

LEARN = LearnConfig(epochs=1)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).eval()


@pytest.fixture(params=[torch.no_grad, torch.inference_mode])
def off(request: pytest.FixtureRequest) -> AbstractContextManager[Any]:
    return request.param()


@pytest.mark.parametrize("method", ["dirichlet", "vcnp", "taylor", "obd"])
def test_channels_are_scored_where_gradients_are_off(
    model: nn.Module, method: str, off: AbstractContextManager[Any]
) -> None:
    x, y = torch.randn(32, 8), torch.randint(0, 3, (32,))
    captured = capture(model, x[:2])
    wanted = score_channels(
        captured, analyse(captured.module), method, [((x,), y)] * 2, learn=LEARN
    )
    with off:
        data = [((x.clone(),), y.clone())] * 2
        captured = capture(model, x.clone()[:2])
        analysis = analyse(captured.module)
        found = score_channels(captured, analysis, method, data, learn=LEARN)
    for group, scores in wanted.by_group.items():
        torch.testing.assert_close(found.by_group[group], scores)


def test_switches_are_learned_where_gradients_are_off(
    model: nn.Module, off: AbstractContextManager[Any]
) -> None:
    captured = capture(model, torch.randn(2, 8))
    sites = switch_sites(analyse(captured.module))
    with off:
        data = [((torch.randn(16, 8),), torch.randint(0, 3, (16,)))] * 2
        assert len(learn_switches(captured, sites, data, config=LEARN).history) == 2


def test_a_model_is_compressed_and_trained_on_where_gradients_are_off(
    model: nn.Module, off: AbstractContextManager[Any]
) -> None:
    config = CompressConfig(learn=LEARN, reconstruct=True)
    with off:
        data = torch.randn(64, 8), torch.randint(0, 3, (64,))
        result = compress(model, data[0][:2], data=data, finetune_epochs=1, config=config)
    assert not any(parameter.is_inference() for parameter in result.model.parameters())
    result.model(torch.randn(4, 8)).sum().backward()
