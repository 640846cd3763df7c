"""The benchmarks' own arithmetic: costs, training, tables, interleaved timing."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import torch
from torch import nn

from benchmarks import auto_target, compressing, conditions, default_ranking, switch_overhead
from benchmarks.data import Augment, Images
from benchmarks.measure import macs, parameters, widths
from benchmarks.models import build
from benchmarks.training import Recipe, error_percent, train
from graphprune import AutoTarget, LearnConfig
from graphprune.errors import UsageError
from graphprune.registry import CRITERIA, SWITCHES
from graphprune.switches.dirichlet import Dirichlet
from graphprune.training.finetune import FinetuneConfig
from graphprune.training.objective import Objective


def test_lenet_has_the_cost_counted_by_hand() -> None:
    model, (example,) = build("lenet5")
    conv1, conv2 = 24 * 24 * 25 * 20, 8 * 8 * 25 * 20 * 50
    assert macs(model, example) == conv1 + conv2 + 800 * 500 + 500 * 10
    assert macs(model, example[:1]) == macs(model, example)
    assert parameters(model) == 431_080
    assert widths(model) == [20, 50, 500]


def stripes(count: int) -> Images:
    """Two classes of noisy images: bright above, or bright below."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (count,), generator=generator)
    pixels = torch.randint(0, 120, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    for label, rows in ((0, slice(0, 4)), (1, slice(4, 8))):
        pixels[labels == label, :, rows] += 100
    return Images(pixels, labels, (0.5,), (0.25,))


def test_training_learns_what_there_is_to_learn() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    images, lines = stripes(300), []
    recipe = Recipe(3, 0.05, batch_size=32, augment=Augment(shift=1, flip=True))
    seconds = train(model, images.subset(slice(0, 200)), recipe, log=lines.append)
    assert error_percent(model, images.subset(slice(200, 300))) < 5
    assert seconds > 0
    assert len(lines) == 3
    assert not model.training


def test_scores_kept_with_the_images_teach_as_the_teacher_itself_does() -> None:
    torch.manual_seed(0)
    teacher, student = (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)) for _ in range(2))
    images = stripes(20)
    inputs = images.normalise(images.pixels)
    targets = compressing.with_scores(images, teacher).labels
    output = student(inputs)
    wanted = Objective(teacher=teacher)(output, (inputs,), images.labels)["loss"]
    torch.testing.assert_close(compressing.distilled(output, targets), wanted)


def test_methods_take_options_of_their_own_and_of_learning() -> None:
    method, learning = compressing.method_and_learning(
        "dirichlet{variant=implicit,samples=3,prior=0.5,mode=sequential}"
    )
    assert isinstance(method, Dirichlet)
    assert (method.variant, method.prior) == ("implicit", 0.5)
    assert learning == {"samples": 3, "mode": "sequential"}
    assert compressing.method_and_learning("bc-gnj{alpha=0.2}")[1] == {}


def test_every_short_name_and_every_registered_method_can_be_had() -> None:
    for name in [*compressing.METHODS, *SWITCHES.names(), *CRITERIA.names()]:
        compressing.method_and_learning(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("elephant", "is not known"),
        ("l0{elephant=1}", "no option 'elephant'"),
        ("l0{samples=0}", "samples must be at least 1"),
        ("l0{seed=1}", "no option 'seed'"),
        ("l2{epochs=2}", "learns nothing"),
    ],
)
def test_methods_that_no_run_could_use_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compressing.method_and_learning(text)
    with pytest.raises(click.BadParameter, match=said):
        compressing.MethodName().convert(text, None, None)


@pytest.mark.parametrize("augment", [None, Augment(shift=1)])
def test_compress_and_measure(augment: Augment | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    images = stripes(300)
    train_set, test_set = images.subset(slice(0, 200)), images.subset(slice(200, 300))
    train(model, train_set, Recipe(3, 0.05, batch_size=20))
    task = compressing.Task(model, train_set, test_set, augment, batch_size=20)
    choice = compressing.Choice("mean", "channels=0.5", finetune=FinetuneConfig(epochs=3))
    small, record = compressing.compress_and_measure(task, choice)
    assert record["widths"] == [4, 3]
    assert record["parameters"] == 4 * 9 + 4 + 4 * 36 * 3 + 3 + 3 * 2 + 2
    assert record["macs"] == 36 * 9 * 4 + 4 * 36 * 3 + 3 * 2
    assert record["error"] == error_percent(small, test_set) < 5
    assert parameters(model) == 8 * 9 + 8 + 288 * 6 + 6 + 6 * 2 + 2


def test_error_is_a_share_of_all_images() -> None:
    images = stripes(30)
    always_zero = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        always_zero[1].weight.zero_()
        always_zero[1].bias.copy_(torch.tensor([1.0, 0.0]))
    wanted = 100 * float((images.labels != 0).double().mean())
    assert error_percent(always_zero, images, batch_size=7) == pytest.approx(wanted)
    assert 0 < wanted < 100


def test_records_are_appended_with_their_conditions(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    assert conditions.read(path) == []
    conditions.append(path, {"error": 1.0, **conditions.conditions(3)})
    conditions.append(path, {"error": 2.0})
    first, second = conditions.read(path)
    assert first["seed"] == 3
    assert first["torch"] == torch.__version__
    assert second == {"error": 2.0}


def test_steps_are_timed_in_turns() -> None:
    order: list[str] = []
    steps = {name: (lambda name=name: order.append(name)) for name in ("a", "b")}
    times = switch_overhead.compare(steps, rounds=2)
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert all(len(t) == 2 and min(t) >= 0 for t in times.values())


@pytest.mark.parametrize("reach", ["first-affine", "input"])
def test_a_plain_step_runs_and_leaves_the_model_alone(reach: str) -> None:
    model, (inputs,) = build("resnet20")
    switch_overhead.plain_step(model, inputs, torch.tensor([0, 1]), reach)()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not inputs.requires_grad


def test_every_confidence_is_cut_from_one_learning() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))
    )
    images = stripes(200)
    train(model, images, Recipe(3, 0.05, batch_size=32))
    task = compressing.Task(model.eval(), images, images, batch_size=20)
    targets = [AutoTarget(0.8, 0.6), AutoTarget(0.9999999, 0.01)]
    learn = LearnConfig(epochs=8, spread=True)
    less, none = auto_target.compress_at(task, learn, "sbp", targets, epochs=1)
    assert less["target"] == "auto{confidence=0.8,share=0.6}"
    assert less["parameters"] < parameters(model)
    assert less["macs"] < macs(model, task.example)
    assert 0 <= less["error"] <= 100
    assert "removes nothing" in none["refused"]
    assert "widths" not in none


def test_rankings_are_judged_by_what_is_left_right_after_the_cut() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)),
    )
    images = stripes(300)
    train(model, images.subset(slice(0, 200)), Recipe(3, 0.05, batch_size=32))
    few, test = images.subset(slice(0, 200)), images.subset(slice(200, 300))
    given = default_ranking.Subject("resnet20", model.eval(), few, test)
    setting = default_ranking.Setting("l2")
    scores = default_ranking.scores_of(given, setting, seed=0)
    budget = "macs=0.5"
    found = default_ranking.judge(given, scores, ((budget, False),))
    assert list(found) == [budget]
    cut, again = found[budget]
    assert 0 <= cut <= 100
    assert again > 80


def test_rankings_are_tabled_by_network_with_their_spread_over_seeds() -> None:
    record = {"network": "n", "images": 1000, "setting": "l2", "seconds": 2.0}
    records = [{**record, "accuracy": {"macs=0.5": [seed, 60.0 + seed]}} for seed in (10.0, 14.0)]
    lines = default_ranking.table(records).splitlines()
    assert lines[0] == "### n, 1,000 images"
    assert lines[2] == "| ranking | macs=0.5 | seeds | s |"
    assert lines[4] == "| l2 | 12.0 ± 2.0 → 72.0 ± 2.0 | 2 | 2 |"
