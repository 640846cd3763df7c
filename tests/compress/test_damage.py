"""What is said of the figures of a small model, also where there are none that count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.compressed import Compressed
from graphprune.delivery.damage import damage
from graphprune.errors import TrainingError
from graphprune.searching.search import SearchConfig, search
from graphprune.training.finetune import FinetuneConfig, finetune
from graphprune.training.objective import Objective

LIMIT = 1e-4
QUICK = CompressConfig(batch_size=8)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)).eval()


def own_answers() -> tuple[torch.Tensor, torch.Tensor]:
    """Targets that the model meets, and a cut one does not."""
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, net()(x)


def nan_when_wrong(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A loss that takes the original's answers alone."""
    error = (output - target).square().mean()
    return torch.where(error < LIMIT, error, torch.full_like(error, float("nan")))


def nan_on_some(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square().mean() + 0 * target.max().sub(1e9).log()


def test_an_original_that_the_loss_cannot_judge_is_refused_before_anything_is_learned() -> None:
    x, y = own_answers()
    stages: list[str] = []
    config = replace(QUICK, progress=lambda stage, *_: stages.append(stage))
    with pytest.raises(TrainingError, match="loss of the original model on the held-out data is n"):
        compress(net(), x[:2], data=(x, y), loss=nan_on_some, config=config)
    assert "learn" not in stages


def test_a_small_model_that_the_loss_cannot_judge_is_delivered_with_a_note(tmp_path: Path) -> None:
    x, y = own_answers()
    result = compress(net(), x[:2], method="l2", data=(x, y), loss=nan_when_wrong, config=QUICK)
    assert isinstance(result, Compressed)
    assert result.report.models["pruned"].loss is None
    assert result.report.models["dense"].loss == pytest.approx(0, abs=LIMIT)
    assert any(
        "the held-out data is nan, so the report gives none" in n for n in result.report.notes
    )
    result.save(tmp_path / "out", latency=False)
    models = json.loads((tmp_path / "out" / "report.json").read_text())["models"]
    assert models["pruned"]["loss"] is None
    assert models["onnx"]["loss"] is None


def test_a_search_among_models_that_the_loss_cannot_judge_ends(tmp_path: Path) -> None:
    x, y = own_answers()
    config = SearchConfig(trials=3, compress=QUICK)
    given = {"method": "l2", "data": (x, y), "loss": nan_when_wrong}
    result = search(net(), x[:2], target="macs=0.5", config=config, **given)  # type: ignore[arg-type]
    assert result.stages.trials[0].loss is None
    result.save(tmp_path / "out", latency=False, onnx=False)


def test_weights_from_before_a_figure_was_known_are_not_kept_for_it() -> None:
    found = iter([float("nan"), 0.5, float("nan")])
    config, data = FinetuneConfig(epochs=2), [own_answers()]
    objective = Objective(loss=nn.functional.mse_loss)
    result = finetune(net(), data, config, objective, evaluate=lambda _: next(found))
    assert result.best_epoch == 1


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({"accuracy": 0.9, "loss": 1.0}, {"accuracy": 0.8, "loss": 9.0}, "cost 10.0 points of acc"),
        ({"accuracy": 0.9, "loss": 1.0}, {"accuracy": 0.9, "loss": 9.0}, ""),
        ({"loss": 0.2}, {"loss": 0.5}, "the cut raised the loss from 0.2 to 0.5: --reconstruct"),
        ({"loss": 0.2}, {"loss": 0.21}, ""),
        ({"loss": -2.0}, {"loss": -1.0}, "the cut raised the loss from -2 to -1"),
        ({"loss": -2.0}, {"loss": -2.5}, ""),
        (
            {"distance": 0.0},
            {"distance": 0.4},
            "left the answers off the original's by 40% of their variance",
        ),
        ({"distance": 0.0}, {"distance": 0.05}, ""),
    ],
)
def test_large_damage_is_said_once(
    before: dict[str, float], after: dict[str, float], says: str
) -> None:
    notes = damage({"dense": before, "pruned": after}, changed=False)
    assert len(notes) == bool(says)
    assert says in "".join(notes)
    assert damage({"dense": before, "pruned": after}, changed=True) == []


def test_nothing_is_said_without_figures() -> None:
    assert damage({}, changed=False) == []
