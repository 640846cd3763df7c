"""``graphprune curve`` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

Run = Callable[..., Result]


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


def test_wrong_options_are_one_line(run: Run) -> None:
    for points, says in (("half", "write fractions"), ("0.5,2", "at most 1"), ("", "fractions")):
        result = run("curve", "model.pt2", "--data", "train.npz", "--points", points)
        assert result.exit_code != 0
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
