"""The report survives the way through its file, and its summary says what matters."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from graphprune.errors import UsageError
from graphprune.exporters.report import (
    GroupRow,
    Measured,
    PinRow,
    Report,
    file_hash,
    versions,
)
from graphprune.proof.certify import Certificate

_REPORT = Report(
    source="net[v2].pt2",
    method="l2",
    target="macs=0.5",
    reached={"macs": 0.497, "params": 0.31},
    models={
        "dense": Measured(62_006, 416_520, 1.25, 0.991, 0.03),
        "pruned": Measured(19_000, 207_000, 0.75, 0.985, 0.05),
        "onnx": Measured(latency_ms=0.21, accuracy=0.985),
    },
    latency={"batch": 1, "threads": 2, "repeats": 20},
    groups=(GroupRow("conv1.weight", 6, 3, ("conv1.weight[0]", "conv2.weight[1]")),),
    pinned=(
        PinRow("conv2.weight", 0, 16, "sorted", "net.py:7: y.sort(1)", "aten.sort.default", 2416),
        PinRow("conv2.bias", 0, 16, "sorted", "net.py:7: y.sort(1)", "aten.sort.default", 2416),
        PinRow("fc.weight", 0, 10, "graph output", params=850),
    ),
    certificate=Certificate(1e-4, "the examples", 2e-7, {2: 3e-7, 3: 4e-7}, 0.0, 3e-7),
    seconds={"capture": 1.5},
    files={"model.onnx": "0" * 64},
    versions=versions(),
    notes=("no data: l2 was used",),
)


def test_round_trip(tmp_path: Path) -> None:
    _REPORT.write_json(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == _REPORT
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (data["kind"], data["format"]) == ("graphprune-report", 1)
    assert data["certificate"]["passed"] is True
    assert {"python", "torch"} <= data["versions"].keys()


def test_a_report_of_before_the_operators_were_noted_is_read(tmp_path: Path) -> None:
    data = _REPORT.to_json()
    data["pinned"] = [{"parameter": "fc.weight", "dim": 0, "channels": 10, "reason": "x"}]
    (tmp_path / "report.json").write_text(json.dumps(data), encoding="utf-8")
    assert Report.load(tmp_path / "report.json").pinned == (PinRow("fc.weight", 0, 10, "x"),)


def test_importance_is_read_with_and_without_intervals(tmp_path: Path) -> None:
    known = GroupRow("a", 2, 1, ("a[0]",), (0.5, 2.0), ((0.1, 0.9), (1.0, 3.0)), (1,), 1.0)
    plain = GroupRow("b", 2, 1, ("b[0]",), (0.5, 2.0), kept=(1,))
    report = dataclasses.replace(_REPORT, groups=(known, plain), certainty="l2 gives no intervals")
    report.write_json(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report
    data = report.to_json()
    assert data["groups"][1]["importance"] == (0.5, 2.0)
    before = data["groups"][0] | {"importance": [[0.1, 0.5, 0.9], [1.0, 2.0, 3.0]]}
    del before["intervals"], data["certainty"]
    (tmp_path / "old.json").write_text(json.dumps(data | {"groups": [before]}), encoding="utf-8")
    assert Report.load(tmp_path / "old.json").groups == (known,)


@pytest.mark.parametrize("known", [True, False])
def test_the_summary_says_where_nothing_is_known_of_the_ranking(known: bool) -> None:
    intervals = ((0.1, 0.9), (1.0, 3.0)) if known else ()
    row = GroupRow("a", 2, 1, ("a[0]",), (0.5, 2.0), intervals, (1,), 1.0 if known else None)
    text = _rendered(dataclasses.replace(_REPORT, groups=(row,), certainty="l2 gives no intervals"))
    assert ("l2 gives no intervals" in text) != known
    assert ("told apart" in text) == known


def test_figures_that_are_not_numbers_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Report("a", "l2", "x", reached={"macs": float("nan")}).write_json(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read"),
        ("[]", "no graphprune report"),
        ('{"kind": "graphprune-report", "format": 99}', "no graphprune report"),
        ('{"kind": "graphprune-report", "format": 1}', "is damaged"),
        (None, "is missing"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=says) as caught:
        Report.load(tmp_path / "report.json")
    assert "\n" not in str(caught.value)


def _rendered(report: Report) -> str:
    stream = io.StringIO()
    report.render(Console(file=stream, width=100, color_system=None))
    return stream.getvalue()


def test_summary_says_what_matters() -> None:
    text = _rendered(_REPORT)
    for part in (
        *("net[v2].pt2", "l2", "macs=0.5", "macs 49.7%"),
        *("62.01 k", "19.00 k (30.6%)", "207.00 k (49.7%)", "0.21 ms", "98.50%"),
        *("threads 2", "conv1.weight", "6 -> 3", "graph output", "no data: l2 was used"),
        *("Certificate passed", "2.0e-07", "limit 0.0001"),
    ):
        assert part in text, part


def test_summary_names_each_call_that_holds_parameters_once() -> None:
    text = _rendered(_REPORT)
    assert text.count("2,416 parameters: sorted [aten.sort.default]") == 1
    assert "net.py:7: y.sort(1)" in text
    assert "850 parameters: graph output\n" in text
    assert "Kept whole: 3 dimensions" in text


def test_summary_leaves_out_what_was_not_measured() -> None:
    text = _rendered(Report("net", "l2", "channels=0.5", models={"dense": Measured(10, 20)}))
    assert "accuracy" not in text
    assert "None" not in text
    assert "Certificate" not in text


def test_a_failed_certificate_is_not_shown_as_passed() -> None:
    text = _rendered(Report("net", "l2", "x", certificate=Certificate(1e-4, "x", 0.5)))
    assert "FAILED" in text
    assert "passed" not in text


def test_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
