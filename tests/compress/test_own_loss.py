"""A loss of the user's without labels: the original's outputs stand in for the target."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from graphprune import CompressConfig, SearchConfig, compress, search
from graphprune.compressed import Compressed
from graphprune.curve import CurveConfig, draw_curve
from graphprune.errors import UsageError
from graphprune.training.finetune import FinetuneConfig, finetune
from graphprune.training.objective import Objective

QUICK = CompressConfig(batch_size=16)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def data() -> torch.Tensor:
    return torch.randn(80, 4, generator=torch.Generator().manual_seed(1))


def farthest(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of each example the answer that is farthest off."""
    assert target.shape == output.shape
    return (output - target).abs().amax(1).mean()


def expected(result: Any) -> float:
    """The loss on the held-out data, worked out by hand."""
    held = torch.cat([batch[0] for batch, _ in result.stages.held_out])
    with torch.no_grad():
        return float(farthest(result.model(held), net()(held)))


def test_a_report_has_the_loss() -> None:
    given: dict[str, Any] = {"method": "l2", "target": "macs=0.5", "data": data()}
    found = compress(net(), data()[:2], loss=farthest, config=QUICK, **given)
    assert isinstance(found, Compressed)
    assert found.stages.evaluations == {
        "dense": {"loss": 0.0},
        "pruned": {"loss": pytest.approx(expected(found), rel=1e-4)},
    }
    assert found.report.models["pruned"].loss == found.stages.evaluations["pruned"]["loss"]


def test_a_curve_is_drawn_by_the_loss() -> None:
    config = CurveConfig(fractions=(0.8, 0.3), controls=(), compress=QUICK)
    curve = draw_curve(net(), data()[:2], data(), method="l2", loss=farthest, config=config)
    assert curve.measure == "loss"
    assert curve.dense == {"loss": 0.0}
    mild, strong = (point.figures["loss"] for point in curve.points["l2"])
    assert 0 < mild < strong


def test_a_search_chooses_by_the_loss() -> None:
    config = SearchConfig(trials=4, compress=QUICK)
    given: dict[str, Any] = {"method": "l2", "target": "macs=0.5", "data": data()}
    found = search(net(), data()[:2], loss=farthest, config=config, **given)
    losses = [row.loss for row in found.stages.trials]
    assert losses[0] == pytest.approx(expected(found), rel=1e-4)
    assert losses == sorted(losses)


def test_the_small_model_is_tuned_by_the_loss() -> None:
    """What it minimises is the loss, which has another scale than the distance."""
    small, teacher, x = net(), net(), data()
    with torch.no_grad():
        for parameter in small.parameters():
            parameter += 0.1
        before = float(farthest(small(x), teacher(x)))
    objective = Objective(loss=farthest, teacher=teacher)
    found = finetune(small, [(x, None)], FinetuneConfig(max_steps=1), objective)
    assert found.history[0]["loss"] == pytest.approx(before)
    given: dict[str, Any] = {"method": "l2", "target": "macs=0.5", "data": x, "config": QUICK}
    tuned = compress(net(), x[:2], loss=farthest, finetune_epochs=1, **given)
    assert isinstance(tuned, Compressed)
    assert tuned.stages.finetuned is not None
    plain = compress(net(), x[:2], loss=farthest, **given)
    assert isinstance(plain, Compressed)
    assert -tuned.stages.finetuned.evaluations[0] == plain.stages.evaluations["pruned"]["loss"]
    first = tuned.stages.finetuned.history[0]["loss"]
    assert first == pytest.approx(plain.stages.evaluations["pruned"]["loss"], rel=0.5)


def test_a_loss_that_wants_labels_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"the loss raised .* target 8x3:float32"):
        compress(
            net(), data()[:2], method="l2", data=data(), loss=nn.functional.nll_loss, config=QUICK
        )
