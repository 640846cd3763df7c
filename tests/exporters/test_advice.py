"""Advice that is drawn from latencies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from graphprune import compress
from graphprune.choosing.plan import Plan
from graphprune.delivery import deliver
from graphprune.delivery.advice import width_advice
from graphprune.delivery.measure import Latency
from graphprune.exporters.report import Measured, Report


def rows(dense_ms: float, ms: float, macs: int = 40) -> dict[str, Measured]:
    return {
        "dense onnx": Measured(parameters=10, macs=100, latency_ms=dense_ms),
        "onnx": Measured(parameters=5, macs=macs, latency_ms=ms),
    }


def plan(**widths: tuple[int, int]) -> Plan:
    return Plan({}, "", "", "", widths)


@pytest.mark.parametrize(
    ("measured", "widths", "given"),
    [
        (rows(10, 8), (32, 19), True),
        (rows(10, 8), (32, 16), False),  # handy already
        (rows(10, 8), (19, 19), False),  # not cut
        (rows(10, 8), (16, 7), False),  # too narrow to be rounded
        (rows(10, 4.4), (32, 19), False),  # as fast as its MACs promise
        (rows(0.1, 0.09), (32, 19), False),  # too small to say
        ({}, (32, 19), False),  # no ONNX file
    ],
)
def test_width_advice(measured: dict[str, Measured], widths: tuple[int, int], given: bool) -> None:
    found = list(width_advice(measured, plan(a=(8, 8), b=widths)))
    assert bool(found) == given
    if given:
        assert found == [
            "model.onnx takes 80% of the dense file's time at 40% of its MACs; --round-to 8 leaves "
            "widths that hardware likes better"
        ]


def test_it_reaches_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"dense": 9.0, "pruned": 9.0, "dense onnx": 9.0, "onnx": 8.9}
    slow = {name: Latency(ms, ms, ms, 1, 1, 1) for name, ms in times.items()}
    monkeypatch.setattr(deliver, "latencies", lambda calls, batch: slow)
    net = nn.Sequential(nn.Linear(6, 38), nn.ReLU(), nn.Linear(38, 3))
    folder = compress(net, torch.randn(2, 6), target="channels=0.5").save(tmp_path / "out")
    assert any("--round-to 8" in note for note in Report.load(folder / "report.json").notes)
