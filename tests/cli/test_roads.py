"""Every way of naming a model, its inputs and its data, up to the certified small model.

Delivery is the same on all of them; test_delivery.py follows one to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from torch import fx

from graphprune.switches.dirichlet import Dirichlet

Run = Callable[..., Result]

ROADS = {
    "program": "model.pt2",
    "program, params": "model.pt2 --target params=0.4",
    "program, percentage": "model.pt2 --target macs=40%",
    "l1": "model.pt2 --method l1",
    "random": "model.pt2 --method random --seed 4",
    "state dict": "state.pt --model userland:make --input-shape 2x1x8x8",
    "batch of one": "state.pt --model userland:make --input-shape 1x1x8x8",
    "safetensors": "weights.safetensors --model userland:make --input-shape 2x1x8x8",
    "pickled": "pickled.pt --trust-pickle --input-shape 2x1x8x8",
    "inputs from data": "state.pt --model userland:make --data train.npz --method l2",
    "rounded": "model.pt2 --round-to 4 --target params=0.5",
    "own pass": "model.pt2 --pass userland:DoubleHead",
    "labels": "model.pt2 --data train.npz",
    "no labels": "model.pt2 --data unlabelled.npz --switch-epochs 1",
    "no labels, fine-tuned": "model.pt2 --data unlabelled.npz --finetune-epochs 1 "
    "--switch-epochs 1",
    "function": "model.pt2 --data userland:loader --switch-epochs 1",
    "images": "model.pt2 --data images --switch-epochs 1",
    "own loss": "model.pt2 --data train.npz --loss userland:squared --finetune-epochs 1 "
    "--switch-epochs 1",
    "global": "model.pt2 --data train.npz --ranking global --switch-epochs 1",
    "mean": "model.pt2 --data train.npz --variant mean --switch-epochs 1",
    "implicit": "model.pt2 --data train.npz --variant implicit --samples 3 --switch-epochs 1",
    "per example": "model.pt2 --data train.npz --variant per-example --switch-epochs 1",
    "sequential": "model.pt2 --data train.npz --mode sequential --switch-epochs 2",
    "paper's scale": "model.pt2 --data train.npz --switch-scale sum --kl-weight 0.1 "
    "--switch-epochs 1",
    "no teacher": "model.pt2 --data train.npz --finetune-epochs 2 --no-distill --lr 0.01 "
    "--switch-epochs 1",
    "one batch size": "one_batch.pt2 --data train.npz --finetune-epochs 1 --switch-epochs 1",
    "large batches": "model.pt2 --data train.npz --batch-size 100000 --finetune-epochs 1 "
    "--switch-epochs 1",
    "small batches": "model.pt2 --data train.npz --batch-size 1 --finetune-epochs 1 "
    "--switch-epochs 1",
}


def compress(road: str, run: Run, chosen: list[Any]) -> Any:
    result = run("compress", *road.split(), "-q", "-o", "unused")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert len(chosen) == 1
    return chosen[0]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("userland:texts", ["input_ids", "attention_mask"]),
        ("ids.npz", ["input_ids"]),
    ],
)
def test_data_say_how_long_inputs_are(
    data: str, names: list[str], run: Run, chosen: list[Any]
) -> None:
    # The model itself suggests inputs too, but of three tokens and without a mask.
    result = compress(f"text.pt --model userland:make_text --data {data} --method l2", run, chosen)
    assert list(result.stages.small.kwargs) == names
    assert all(value.shape == (2, 7) for value in result.stages.small.kwargs.values())


def test_without_data_a_model_suggests_its_inputs(run: Run, chosen: list[Any]) -> None:
    result = compress("text.pt --model userland:make_text", run, chosen)
    assert result.stages.small.kwargs["input_ids"].shape == (2, 3)


@pytest.mark.parametrize("road", ROADS.values(), ids=[n.replace(" ", "-") for n in ROADS])
def test_road(road: str, run: Run, chosen: list[Any], user: Any) -> None:
    result = compress(road, run, chosen)
    assert isinstance(result.model, fx.GraphModule)
    assert result.certificate.passed
    assert result.certificate.shrink_error <= 1e-4
    dense = dict(result.stages.dense.module.named_parameters())
    small = dict(result.model.named_parameters())
    assert set(small) == set(dense)
    assert sum(p.numel() for p in small.values()) < sum(p.numel() for p in dense.values())
    report = result.report
    learned = "--data" in road and "--method" not in road
    assert (report.method == "dirichlet") == learned == bool(result.stages.scores.learned)
    assert report.models["pruned"].parameters == sum(p.numel() for p in small.values())


def test_without_data_the_report_says_l2(run: Run, chosen: list[Any]) -> None:
    report = compress("model.pt2", run, chosen).report
    assert report.method == "l2"
    assert "no data given" in report.notes[0]
    assert report.reached["channels"] == pytest.approx(0.5)
    assert report.models["dense"].accuracy is None


def test_options_reach_the_stages(run: Run, chosen: list[Any]) -> None:
    road = (
        "model.pt2 --data train.npz --variant implicit --samples 2 --mode sequential --seed 7 "
        "--switch-scale sum --switch-epochs 3 --batch-size 24 --target channels=0.25"
    )
    result = compress(road, run, chosen)
    learned = result.stages.scores.learned
    assert learned.method == Dirichlet(variant="implicit", scale="sum")
    # 72 training examples in batches of 24, 3 epochs, for each of 2 groups
    assert len(learned.history) == 3 * 3 * 2
    assert result.plan.target == "channels=0.25"
    assert result.plan.widths == {"conv1.weight": (8, 2), "conv2.weight": (12, 3)}


def test_a_target_without_a_fraction(run: Run, chosen: list[Any]) -> None:
    asked = "--target auto{confidence=0.9,share=0.6} --method sbp --switch-epochs 15"
    result = compress(f"model.pt2 --data train.npz {asked}", run, chosen)
    assert result.certificate.passed
    assert result.plan.target == "auto{confidence=0.9,share=0.6}"
    assert result.report.reached["channels"] < 1
    assert "average, has less than 60% of an equal share" in result.report.notes[0]


def test_fine_tuning_follows_its_options(run: Run, chosen: list[Any]) -> None:
    road = "model.pt2 --data train.npz --method l2 --finetune-epochs 2 --batch-size 36"
    with_teacher = compress(road, run, chosen).stages.finetuned
    assert len(with_teacher.history) == 4
    assert "distillation" in with_teacher.history[0]
    chosen.clear()
    alone = compress(road + " --no-distill", run, chosen).stages.finetuned
    assert "distillation" not in alone.history[0]


def test_own_loss_is_used(run: Run, chosen: list[Any], user: Any) -> None:
    road = "model.pt2 --data train.npz --loss userland:squared --method l2"
    report = compress(road, run, chosen).report
    held_out = list(chosen[0].stages.held_out)
    inputs = torch.cat([batch[0][0] for batch in held_out])
    target = torch.cat([batch[1] for batch in held_out])
    with torch.no_grad():
        expected = user.squared(user.make()(inputs), target)
    assert report.models["dense"].loss == pytest.approx(expected.item(), rel=1e-4)
    assert report.models["dense"].accuracy is None


def test_own_pass_changes_the_model(run: Run, chosen: list[Any], user: Any) -> None:
    result = compress("model.pt2 --pass userland:DoubleHead", run, chosen)
    expected = user.make().head.bias.detach() * 2
    torch.testing.assert_close(result.model.get_parameter("head.bias").detach(), expected)


def test_several_inputs_with_dtypes_and_named_outputs(
    run: Run, chosen: list[Any], user: Any, work: Path
) -> None:
    torch.save(user.make_pair().state_dict(), work / "pair.pt")
    model = "pair.pt --model userland:make_pair"
    shapes = "--input-shape 2x5:int64,0..10 --input-shape 2x5"
    result = compress(f"{model} {shapes}", run, chosen)
    output = result.model(torch.randint(0, 10, (3, 5)), torch.rand(3, 5))
    assert {name: tuple(value.shape) for name, value in output.items()} == {
        "logits": (3, 3),
        "features_mean": (3,),
    }
    chosen.clear()
    learned = compress(f"{model} --data userland:pairs --batch-size 8", run, chosen)
    assert learned.report.method == "dirichlet"
    assert learned.report.models["pruned"].accuracy is None


def test_one_batch_size_stays(run: Run, chosen: list[Any], user: Any) -> None:
    result = compress("one_batch.pt2", run, chosen)
    assert not result.stages.small.dynamic_batch
    assert result.model(torch.randn(4, 1, 8, 8)).shape == (4, user.CLASSES)
