"""``graphprune curve`` as a user types it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result

from graphprune.cli import cli

Run = Callable[..., Result]
commands: dict[str, Any] = dict(cli.commands)

# Of one result, of its training and of its delivery.
NOT_OF_A_CURVE = {
    *("output", "target", "overwrite", "quiet", "no_onnx", "no_latency"),
    *("finetune_epochs", "lr", "reconstruct", "recalibrate", "no_distill"),
}


def test_the_table_names_every_budget_and_method(run: Run) -> None:
    road = "curve model.pt2 --data train.npz --switch-epochs 1 --points 0.7,0.3,0.0001"
    result = run(*road.split())
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    for word in ("accuracy", "dense model", "70%", "30%", "dirichlet", "l2", "random"):
        assert word in result.stdout
    assert result.stdout.count("out of reach") == 3
    assert "l2: " in result.stdout


def test_json_holds_the_points(run: Run) -> None:
    road = "model.pt2 --data train.npz --method l2 --budget params --points 0.5 --json"
    result = run("curve", *road.split())
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["kind"] == "params"
    assert list(data["points"]) == ["l2", "random"]
    assert 0 <= data["points"]["l2"][0]["figures"]["accuracy"] <= 1


@pytest.mark.parametrize(
    "options",
    [
        "--method l2 --ranking global --round-to 1",
        "--method l2 --heads keep --round-to 4",
        "--variant implicit --samples 2 --switch-epochs 1 --kl-weight 0.5 --seed 3",
        "--mode sequential --switch-scale sum --switch-epochs 1 --batch-size 32",
    ],
)
def test_the_curve_foretells_what_compress_cuts(
    run: Run, chosen: list[Any], tmp_path: Path, options: str
) -> None:
    shared = f"model.pt2 --data train.npz {options}".split()
    result = run("curve", *shared, "--points", "0.5", "--json")
    assert result.exit_code == 0, result.output
    (point,) = next(iter(json.loads(result.stdout)["points"].values()))
    run("compress", *shared, "--target", "macs=0.5", "--quiet", "-o", tmp_path / "out")
    (cut,) = chosen
    assert cut.report.reached["macs"] == point["reached"]
    assert cut.stages.evaluations["pruned"] == point["figures"]


def test_options_that_decide_the_cut_are_those_of_compress(run: Run) -> None:
    helps = {name: " ".join(run(name, "--help").stdout.split()) for name in ("compress", "curve")}
    for option in commands["compress"].params:
        if option.name not in NOT_OF_A_CURVE:
            text = option.opts[0]
            assert text in helps["compress"]
            assert text in helps["curve"], text
            same = next(o for o in commands["curve"].params if o.name == option.name)
            if option.name not in {"data", "model"}:
                assert (same.default, same.help) == (option.default, option.help)


def test_wrong_options_are_one_line(run: Run) -> None:
    for points, says in (("half", "write fractions"), ("0.5,2", "at most 1"), ("", "fractions")):
        result = run("curve", "model.pt2", "--data", "train.npz", "--points", points)
        assert result.exit_code != 0
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
    for options, says in (
        ("--round-to some", "--round-to"),
        ("--batch-size 0", "at least 1"),
        ("--method l2 --variant mean", "are for dirichlet"),
        ("--pass nothing", "nothing"),
        ("--margin nan", "margin is nan; give a number from 0 on"),
        ("--margin -1", "margin is -1"),
    ):
        result = run("curve", "model.pt2", "--data", "train.npz", *options.split())
        assert result.exit_code == 2
        assert says in result.stderr
        assert result.stderr.count("\n") == 1


def test_notes_are_printed(run: Run) -> None:
    road = "model.pt2 --data train.npz --method vcnp --switch-epochs 1 --points 0.5"
    result = run("curve", *road.split())
    assert result.exit_code == 0, result.output
    assert "note: vcnp: the weights were trained along" in " ".join(result.stdout.split())


def test_the_table_says_what_stays_where_that_is_not_what_was_asked_for(
    run: Run, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.ReLU(), torch.nn.Linear(3, 4))
    x = torch.randn(64, 6)
    torch.export.save(torch.export.export(model.eval(), (x[:2],)), tmp_path / "small.pt2")
    np.savez(tmp_path / "x.npz", x=x.numpy())
    road = ["--data", tmp_path / "x.npz", "--method", "l2", "--round-to", "1"]
    points = "0.8,0.66,0.45,0.001,0.355,0.36"
    result = run("curve", tmp_path / "small.pt2", *road, "--points", points)
    assert result.exit_code == 0, result.output
    table = {row[0]: " ".join(row[1:]) for row in map(_cells, result.stdout.splitlines()) if row}
    assert "macs asked for" in result.stdout
    assert len(table) == 6
    assert re.fullmatch(r"\S+ \(at 66\.7%\) \S+ \(at 66\.7%\)", table["80%"])
    assert re.fullmatch(r"\S+ \S+", table["66%"])
    assert table["45%"].count("(at 33.3%)") == 2
    assert table["0.1%"] == "out of reach out of reach"
    assert table["35.5%"].count("(at 33.3%)") == table["36%"].count("(at 33.3%)") == 2


def _cells(line: str) -> list[str]:
    """Of a row of the table: the budget and the rest."""
    cells = line.split()
    return cells if cells and re.fullmatch(r"[\d.]+%", cells[0]) else []
