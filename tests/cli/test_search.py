"""``graphprune search`` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_the_result_is_that_of_compress_with_a_table_of_what_was_tried(
    run: Run, tmp_path: Path
) -> None:
    road = "model.pt2 --data train.npz --method l2 --method random --trials 8 --no-latency"
    result = run("search", *road.split(), "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    files = {"model.onnx", "model.pt2", "plan.json", "report.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["trials"][0]["place"] == 1
    assert report["certificate"]["passed"]
    assert "allocation tried" in result.stdout
    assert "8 allocations were tried" in " ".join(result.stdout.split())
    assert run("verify", tmp_path / "out").exit_code == 0


def test_wrong_options_are_one_line(run: Run, tmp_path: Path) -> None:
    for options, says in (
        ("--trials 0", "trials must be at least 1"),
        ("--target half", "half"),
        ("--method nothing", "not known"),
    ):
        given = f"model.pt2 --data train.npz {options}".split()
        result = run("search", *given, "-o", tmp_path / "out")
        assert result.exit_code == 2
        assert says in result.stderr
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
