"""The quick road to new shapes says what the slow one says."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from benchmarks.models.vit import Vit, VitConfig
from graphprune import Shrink, analyse, capture, choose, score_channels
from graphprune.errors import PassError
from graphprune.graph.values import get_tensor, is_tensor, set_tensor
from graphprune.importance.learn_config import LearnConfig
from graphprune.shrinking.refresh import refresh_shapes
from graphprune.shrinking.rewrite import retrace_shapes


def shrunk(model: nn.Module, example: torch.Tensor) -> torch.fx.GraphModule:
    captured = capture(model, example)
    analysis = analyse(captured.module)
    scores = score_channels(captured, analysis, "l2", None, learn=LearnConfig())
    plan = choose(analysis, scores.by_group, "channels=0.5").plan
    return Shrink(analysis=analysis, plan=plan)(copy.deepcopy(captured.module)).graph_module


@pytest.mark.parametrize("fused", [True, False])
def test_shapes_are_those_of_fake_tensors(monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    monkeypatch.setattr(
        "graphprune.shrinking.refresh.retrace_shapes", lambda _: pytest.fail("slow road")
    )
    module = shrunk(Vit(VitConfig(fused=fused, depth=1)).eval(), torch.randn(2, 3, 32, 32))
    slow = copy.deepcopy(module)
    retrace_shapes(slow)
    compared = 0
    for quick, full in zip(module.graph.nodes, slow.graph.nodes, strict=True):
        if quick.op != "output" and is_tensor(quick):
            assert str(quick.meta["val"].shape) == str(full.meta["val"].shape), quick.name
            assert quick.meta["val"].dtype == full.meta["val"].dtype
            compared += 1
    assert compared > 20


def test_what_does_not_fit_is_refused() -> None:
    module = shrunk(Vit(VitConfig(depth=1)).eval(), torch.randn(2, 3, 32, 32))
    weight = get_tensor(module, "blocks.0.mlp.2.weight")
    set_tensor(module, "blocks.0.mlp.2.weight", weight[:, :-1].clone())
    with pytest.raises(PassError, match="does not fit together"):
        refresh_shapes(module)
