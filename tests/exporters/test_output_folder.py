"""The output folder appears whole or not at all, and nobody else's files are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graphprune.errors import UsageError
from graphprune.exporters.output_folder import check_output, output_folder

_REPORT = json.dumps({"kind": "graphprune-report"})


def _write(target: Path, text: str, *, overwrite: bool = False) -> None:
    with output_folder(target, overwrite=overwrite) as place:
        (place / "report.json").write_text(_REPORT, encoding="utf-8")
        (place / "plan.json").write_text(text, encoding="utf-8")
        assert not (target / "plan.json").exists() or overwrite


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): p.read_text(encoding="utf-8")
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.parametrize("state", ["absent", "parents absent", "empty"])
def test_appears_with_its_files_and_nothing_beside_it(tmp_path: Path, state: str) -> None:
    target = tmp_path / ("a/b/out" if state == "parents absent" else "out")
    if state == "empty":
        target.mkdir()
    _write(target, "1")
    assert _tree(target) == {"plan.json": "1", "report.json": _REPORT}
    assert [p.name for p in target.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("earlier", [False, True])
def test_leaves_no_trace_of_a_failure(
    tmp_path: Path, error: type[BaseException], earlier: bool
) -> None:
    target = tmp_path / "out"
    if earlier:
        _write(target, "1")
    before = _tree(tmp_path)

    def fail() -> None:
        with output_folder(target, overwrite=True) as place:
            (place / "model.onnx").write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(error):
        fail()
    assert _tree(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["out"] if earlier else [])


def test_an_earlier_output_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "out"
    _write(target, "1")
    with pytest.raises(UsageError, match="--overwrite"):
        _write(target, "2")
    assert _tree(target)["plan.json"] == "1"
    _write(target, "2", overwrite=True)
    assert _tree(target)["plan.json"] == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "mine"},
        {"report.json": "{}"},
        {"report.json": _REPORT, "notes.txt": "mine"},
        {"model.onnx": "somebody's"},
    ],
)
def test_foreign_files_are_never_replaced(tmp_path: Path, files: dict[str, str]) -> None:
    target = tmp_path / "out"
    target.mkdir()
    for name, text in files.items():
        (target / name).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        _write(target, "2", overwrite=True)
    assert _tree(target) == files


def test_files_that_appear_meanwhile_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def write_meanwhile() -> None:
        with output_folder(target):
            target.mkdir()
            (target / "notes.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(UsageError, match="not empty"):
        write_meanwhile()
    assert _tree(tmp_path) == {"out/notes.txt": "mine"}


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file"):
        check_output(tmp_path / "out")
    with pytest.raises(UsageError), output_folder(tmp_path / "out" / "deeper"):
        raise AssertionError("not reached")


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="name a folder inside"):
        check_output(".")
    with pytest.raises(UsageError):
        check_output("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_parent_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot"):
        check_output(tmp_path / "out")
    tmp_path.chmod(0o700)


def test_two_runs_at_once(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with output_folder(target) as place:
        (place / "plan.json").write_text("1", encoding="utf-8")
        with (
            pytest.raises(UsageError, match="another run"),
            output_folder(target),
        ):
            raise AssertionError("not reached")
        assert (place / "plan.json").exists()
    assert _tree(tmp_path) == {"out/plan.json": "1"}


def test_a_killed_run_is_cleaned_up_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "out"
    code = f"""
import time
from graphprune.exporters.output_folder import output_folder
with output_folder({str(target)!r}) as place:
    (place / "model.onnx").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    _write(target, "1")
    assert _tree(tmp_path) == {"out/plan.json": "1", "out/report.json": _REPORT}
