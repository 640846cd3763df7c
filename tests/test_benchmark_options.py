"""Benchmarks: wrong options are one line at once; rows are of the dense model that they name."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import baselines
from benchmarks.baselines import state_digest
from benchmarks.models.lenet import LeNet5
from benchmarks.paper import figure3, figures14, resnet56, table1, tables23
from benchmarks.paper.figure3_table import _kind
from benchmarks.paper.table1_rows import rows_of

README = Path(__file__).parents[1] / "benchmarks/README.md"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither data nor dense models."""
    monkeypatch.setenv("GRAPHPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAPHPRUNE_DATA", str(tmp_path / "data"))


def refusal(command: click.Command, *options: str, status: int = 2) -> str:
    result = CliRunner().invoke(command, list(options))
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    error = result.output[result.output.index("Error: ") :].strip()
    assert "\n" not in error
    return error


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (table1.main, ("--target", "foo")),
        (table1.main, ("--target", "auto")),
        (table1.main, ("--target", "widths=3-10")),
        (table1.main, ("--target", "widths=300-10-27")),
        (table1.main, ("--target", "widths=3-0-27")),
        (table1.main, ("--target", "widths=3-x-27")),
        (table1.main, ("--rank-images", "0")),
        (table1.main, ("--rank-images", "-5")),
        (table1.main, ("--rank-epochs", "0")),
        (table1.main, ("--finetune-epochs", "-1")),
        (table1.main, ("--batch-size", "0")),
        (table1.main, ("--held-out", "60000")),
        (table1.main, ("--lr", "0")),
        (figure3.main, ("--test-images", "0")),
        (figure3.main, ("--rank-batch", "0")),
        (figure3.main, ("--calibrate", "-1")),
        (figures14.main, ("lenet5", "--count", "0")),
        (figures14.main, ("lenet5", "--channels", "0")),
        (resnet56.main, ("--method", "nosuch")),
        (resnet56.main, ("--method", "mean", "--method", "nosuch")),
        (resnet56.main, ("--target", "macs=9")),
        (resnet56.main, ("--method", "dense", "--target", "macs=0.392")),
        (tables23.main, ("--table", "vgg16", "--method", "nosuch")),
        (tables23.main, ("--table", "wrn", "--target", "macs=9")),
    ],
)
def test_what_no_run_could_use_is_refused_at_once(
    command: click.Command, options: tuple[str, ...]
) -> None:
    said = refusal(command, *options)
    assert any(word.strip("-") in said for word in options)


def test_a_target_may_be_widths_or_a_budget() -> None:
    kind = next(p.type for p in table1.main.params if p.name == "targets")
    for target in ("widths=20-50-500", "macs=0.05", "params=40%"):
        assert kind.convert(target, None, None) == target


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        (table1.main, (), "run python -m benchmarks.baselines lenet5"),
        (baselines.main, ("lenet5",), "set GRAPHPRUNE_DATA to the folder with mnist.npz"),
        (figure3.main, (), "set GRAPHPRUNE_DATA"),
        (figures14.main, ("lenet5",), "set GRAPHPRUNE_DATA"),
        (resnet56.main, ("--device", "cpu"), "set GRAPHPRUNE_DATA"),
    ],
)
def test_missing_files_are_one_line(
    command: click.Command, options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    output = [] if command is baselines.main else ["--output", str(tmp_path / "out.jsonl")]
    assert words in refusal(command, *options, *output, status=1)


def test_the_readme_names_options_that_there_are() -> None:
    lines = re.findall(r"^python -m (benchmarks\S*) ?([^#\n]*)", README.read_text(), re.M)
    assert len(lines) > 10
    for module, words in lines:
        command = importlib.import_module(module).main
        known = {option for parameter in command.params for option in parameter.opts}
        assert {w for w in shlex.split(words) if w.startswith("--")} <= known, module


def test_a_digest_is_of_names_and_values() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    first = state_digest(model)
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert state_digest(model.to(memory_format=torch.channels_last)) == first
    with torch.no_grad():
        model[0].bias[0] += 1
    assert state_digest(model) != first
    assert state_digest(nn.Sequential(nn.Conv2d(1, 2, 3, dtype=torch.bfloat16)))


def test_rows_of_another_dense_model_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [LeNet5().eval(), LeNet5().eval()]
    made: list[str] = []

    def row(setting: Any, schedule: Any, method: str, target: str, seed: int) -> dict[str, Any]:
        made.append(state_digest(setting.model))
        costs = {"widths": [3], "parameters": 1, "macs": 1, "seconds_compress": 0}
        errors = {"error_pruned": 1.0, "error": float(len(made)), "seconds_finetune": 0}
        told = {"method": method, "target": target, "ranking": "local"}
        return {**told, **costs, **errors}

    monkeypatch.setattr(table1, "one_row", row)
    monkeypatch.setattr(
        table1, "_setting", lambda model, held_out: table1.Setting(model, None, None, None)
    )
    command = ["--method", "l2", "--seed", "0", "--output", str(tmp_path / "out.jsonl")]
    for model in (models[0], models[1], models[0]):
        monkeypatch.setattr(table1, "dense", lambda name, model=model: model)
        result = CliRunner().invoke(table1.main, command)
        assert result.exit_code == 0, result.output
    assert made == [state_digest(model) for model in models]
    assert "1 of 1 rows are there already" in result.output
    rows = rows_of(table1.read(tmp_path / "out.jsonl"))
    assert sorted(one.errors for one in rows) == [(1.0,), (2.0,)]


def test_dense_models_are_not_mixed_in_a_figure() -> None:
    old = {"model": "lenet5", "pool": "kept", "scale": {}}
    assert len({_kind(one) for one in (old, {**old, "dense_state": "a"}, old)}) == 2


def test_a_trial_leaves_the_cached_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = baselines.Images(
        torch.randint(256, (20, 1, 28, 28), dtype=torch.uint8),
        torch.arange(20) % 10,
        (0.5,),
        (0.5,),
    )
    recipe = baselines.Recipe(1, 0.01, batch_size=10)
    tiny = baselines.Baseline(LeNet5, lambda: (images, images), recipe)
    monkeypatch.setitem(baselines.BASELINES, "lenet5", tiny)
    output = tmp_path / "trial" / "lenet5.safetensors"
    result = CliRunner().invoke(baselines.main, ["lenet5", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert output.is_file()
    assert output.with_suffix(".json").is_file()
    assert not [*(tmp_path / "cache").glob("*")]
