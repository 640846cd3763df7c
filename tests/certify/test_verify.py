"""verify finds damage, contradictions and missing files, one clear line each."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from graphprune.capturing.capture import Captured
from graphprune.choosing.plan import Plan
from graphprune.delivery.measure import count_parameters
from graphprune.delivery.verify import verify
from graphprune.errors import GraphpruneError
from graphprune.exporters.report import Measured, Report, file_hash
from graphprune.proof.certify import Certificate

_FILES = ("model.onnx", "model.pt2", "plan.json")


@pytest.fixture
def folder(delivered: tuple[Captured, Path], tmp_path: Path) -> Path:
    """A complete output folder; the plan says that the embedding had 8 columns and 6 stay."""
    captured, source = delivered
    place = tmp_path / "out"
    shutil.copytree(source, place)
    kept: dict[str, dict[int, list[int] | list[list[int]]]] = {
        "table.weight": {1: [0, 1, 3, 4, 5, 7]},
        "head.weight": {1: [[0, 1, 3, 4, 5, 7]] * 5},
    }
    Plan(kept, "0" * 64).save(place / "plan.json")
    report = Report(
        "net",
        "l2",
        "channels=0.75",
        models={"pruned": Measured(parameters=count_parameters(captured.module))},
        certificate=Certificate(1e-4, "test", 0.0),
    )
    _write(report, place)
    return place


def _write(report: Report, place: Path) -> None:
    files = {name: file_hash(place / name) for name in _FILES}
    dataclasses.replace(report, files=files).write_json(place / "report.json")


def test_passes_on_an_untouched_folder(folder: Path) -> None:
    certificate = verify(folder)
    assert certificate.passed
    assert certificate.onnx_error.keys() == {2, 3}
    assert certificate.shrink_error is None


def _flip_a_byte(name: str) -> Callable[[Path], None]:
    def damage(place: Path) -> None:
        data = bytearray((place / name).read_bytes())
        data[len(data) // 2] ^= 1
        (place / name).write_bytes(data)

    return damage


def _truncate(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).write_bytes((place / name).read_bytes()[:40])


def _remove(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).unlink()


def _edit_plan(place: Path) -> None:
    plan = json.loads((place / "plan.json").read_text(encoding="utf-8"))
    plan["kept"]["table.weight"]["1"].pop()
    (place / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    _write(Report.load(place / "report.json"), place)


def _name_a_stranger_in_the_plan(place: Path) -> None:
    Plan({"tail.weight": {0: [0]}}, "0").save(place / "plan.json")
    _write(Report.load(place / "report.json"), place)


def _edit_onnx_weights(place: Path) -> None:
    """A valid file with one wrong weight, and a report that agrees with it."""
    model = onnx.load(place / "model.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if values.dtype.kind == "f" and values.shape == (5,):
            values[0] += 0.5
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            break
    else:
        raise AssertionError("the bias is not in the file")
    onnx.save(model, place / "model.onnx")
    _write(Report.load(place / "report.json"), place)


def _edit_parameters(place: Path) -> None:
    report = Report.load(place / "report.json")
    _write(dataclasses.replace(report, models={"pruned": Measured(parameters=1)}), place)


def _list_a_file_elsewhere(place: Path) -> None:
    report = Report.load(place / "report.json")
    files = report.files | {"../secret": "0"}
    dataclasses.replace(report, files=files).write_json(place / "report.json")


def _drop_a_hash(place: Path) -> None:
    report = Report.load(place / "report.json")
    files = {name: value for name, value in report.files.items() if name != "model.pt2"}
    dataclasses.replace(report, files=files).write_json(place / "report.json")


def _break_onnx(place: Path) -> None:
    (place / "model.onnx").write_bytes(b"\x08\x01nonsense")
    _write(Report.load(place / "report.json"), place)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        *[(_remove(name), f"{name} is missing") for name in (*_FILES, "report.json")],
        *[(_flip_a_byte(name), "hash differs") for name in _FILES],
        *[(_truncate(name), "hash differs") for name in _FILES],
        (_truncate("report.json"), "report.json cannot be read"),
        (_edit_plan, "keeps 5 positions of table.weight, dimension 1, but model.pt2 has 6"),
        (_name_a_stranger_in_the_plan, "tail.weight, which model.pt2 does not have"),
        (_edit_onnx_weights, "onnxruntime against PyTorch"),
        (_edit_parameters, "states 1 parameters"),
        (_list_a_file_elsewhere, "never writes"),
        (_drop_a_hash, "no hash of model.pt2"),
        (_break_onnx, "no valid ONNX"),
        (shutil.rmtree, "no folder"),
    ],
)
def test_finds_damage(folder: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(folder)
    with pytest.raises(GraphpruneError) as caught:
        verify(folder)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code in (2, 3)
