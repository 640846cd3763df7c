"""The CIFAR-10 tables: every row can be cut, what is counted, measured once and tabulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.baselines import BASELINES
from benchmarks.compressing import Task, method_and_learning
from benchmarks.conditions import read
from benchmarks.data import Images
from benchmarks.measure import macs, parameters
from benchmarks.models.randomise import randomise
from benchmarks.models.resnet_cifar import CifarResNet
from benchmarks.models.wide_resnet import WideResNet
from benchmarks.paper import cifar, resnet56, tables23, tables23_rows
from benchmarks.paper.cifar import DENSE, DENSE_TUNED, Bench, Row, Schedule
from benchmarks.paper.cutting import Ranked, rank

EXPERIMENTS = tables23_rows.EXPERIMENTS


def pictures(count: int) -> Images:
    """Random images, the bright ones of class 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (count,), generator=generator)
    pixels = torch.randint(0, 100, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Images(
        pixels + 100 * labels[:, None, None, None].byte(), labels, (0.5,) * 3, (0.25,) * 3
    )


def ranked_by(model: nn.Module, method: str = "random") -> tuple[Ranked, Task]:
    images = pictures(4)
    task = Task(randomise(model, torch.randn(8, 3, 32, 32), 0), images, images)
    return rank(task, method, seed=0), task


def test_inner_channels_are_those_between_two_kernels() -> None:
    ranked, _ = ranked_by(CifarResNet(2))
    names = [group.name for group in cifar.inner_groups(ranked.analysis)]
    wanted = [f"layer{s}.{b}.conv1.weight" for s in (1, 2, 3) for b in (0, 1)]
    assert names == wanted
    wide, _ = ranked_by(WideResNet(10, 1))
    names = [group.name for group in cifar.inner_groups(wide.analysis)]
    assert names == [f"blocks.{block}.conv1.weight" for block in range(3)]


def test_a_row_of_inner_channels_leaves_the_streams_alone() -> None:
    ranked, task = ranked_by(WideResNet(10, 1))
    captured, _ = cifar.cut_row(ranked, Row("random", "params=0.6", inner=True))
    small = captured.module
    assert parameters(small) / parameters(task.model) == pytest.approx(0.6, abs=0.01)
    shapes = {name: tuple(p.shape) for name, p in small.named_parameters()}
    assert shapes["conv1.weight"][0] == 16
    assert shapes["linear.weight"] == (10, 64)
    assert shapes["blocks.2.conv1.weight"][0] < 64


@pytest.mark.parametrize("scale", ["full", "cpu"])
def test_every_row_names_what_there_is(scale: str) -> None:
    tables = [(tables23_rows.rows(name, scale), e.dense[scale]) for name, e in EXPERIMENTS.items()]
    for rows, baseline in [*tables, (resnet56.rows(), "resnet56")]:
        assert baseline in BASELINES
        assert len(set(rows)) == len(rows)
        assert [row.method for row in rows if not row.target] == [DENSE, DENSE_TUNED]
        for row in rows:
            if row.target:
                method_and_learning(row.method)


@pytest.mark.parametrize(
    ("baseline", "rows"),
    [
        *((e.dense["cpu"], tables23_rows.rows(name, "cpu")) for name, e in EXPERIMENTS.items()),
        ("resnet20", resnet56.rows()),
    ],
    ids=["vgg16", "wrn", "resnet"],
)
def test_every_row_of_the_reduced_scale_can_be_cut(baseline: str, rows: list[Row]) -> None:
    ranked, task = ranked_by(BASELINES[baseline].build())
    targets = {replace(row, method="random", tuned=True) for row in rows if row.target}
    for row in targets:
        small = cifar.cut_row(ranked, row)[0].module
        kind, _, wanted = row.target.partition("=")
        count = {"macs": lambda m: macs(m, task.example), "params": parameters}.get(kind)
        if count is not None:
            assert count(small) / count(task.model) == pytest.approx(float(wanted), abs=0.02)


def test_the_papers_vgg_costs_what_the_paper_says() -> None:
    (row,) = tables23_rows.counted_rows("vgg16")
    record = tables23.count("vgg16_bn", row)
    assert record["widths"] == list(tables23_rows.VGG_WIDTHS)
    assert round(record["macs"] / 1e6) == 46
    assert round(record["parameters"] / 1e6, 1) == 0.7
    assert record["dense"]["parameters"] == 14_991_946
    text = tables23.table((), [{"row": vars(row), **record}])
    assert "| l2, given widths, all channels |" in text.splitlines()[2]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    model = randomise(WideResNet(10, 1, classes=2), torch.randn(8, 3, 32, 32), 0)
    monkeypatch.setattr(cifar, "dense", lambda name: model)
    schedule = Schedule(train_images=16, rank_images=8, batch_size=8, recalibrate=1)
    return Bench("tiny", (pictures(24), pictures(20)), schedule, tmp_path / "out.jsonl")


def test_rows_are_measured_once(bench: Bench) -> None:
    rows = [
        Row(DENSE),
        Row(DENSE_TUNED),
        Row("l2", "params=0.6", inner=True),
        Row("l2", "params=0.5", "global", tuned=False),
    ]
    lines: list[str] = []
    cifar.measure(replace(bench, log=lines.append), rows[:3])
    cifar.measure(replace(bench, log=lines.append), rows)
    records = read(bench.output)
    assert len(records) == len(lines) == 4
    assert [record["row"]["method"] for record in records] == [DENSE, DENSE_TUNED, "l2", "l2"]
    dense, tuned, small, cut_only = records
    assert dense["parameters"] == tuned["parameters"] > small["parameters"]
    assert all(0 <= record["error"] <= 100 for record in (dense, tuned, small))
    assert "error" not in cut_only
    assert {"error_cut", "error_recalibrated"} <= small.keys() & cut_only.keys()
    cifar.measure(replace(bench, seed=1), rows[:1])
    assert len(read(bench.output)) == 5
    fitted = replace(bench, schedule=replace(bench.schedule, reconstruct=1))
    cifar.measure(fitted, rows[3:])
    found = read(bench.output)[-1]
    assert "error_reconstructed" in found
    assert "failed" not in found
    assert "error_recalibrated" not in found


def test_rows_of_another_dense_model_are_measured_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar.measure(bench, [Row(DENSE)])
    other = randomise(WideResNet(10, 1, classes=2), torch.randn(8, 3, 32, 32), 1)
    monkeypatch.setattr(cifar, "dense", lambda name: other)
    for _ in range(2):
        cifar.measure(bench, [Row(DENSE)])
    records = read(bench.output)
    assert len({record["dense_state"] for record in records}) == len(records) == 2
    for record in records:
        assert cifar.dense_record(records, {"dense_state": record["dense_state"]}) is record
    assert cifar.dense_record(records, {}) is None


def test_dropout_is_off() -> None:
    model = cifar.without_dropout(BASELINES["vgg16_quarter"].build())
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.0]


def test_a_cut_that_leaves_no_signal_is_no_result(bench: Bench) -> None:
    model = cifar.dense("tiny")
    with torch.no_grad():
        model.linear.weight.zero_()
    cifar.measure(bench, [Row("l2", "params=0.6", inner=True)])
    (found,) = read(bench.output)
    assert "does not vary" in found["failed"]
    assert "error" not in found
    assert "not proved" in tables23.table((), [found])


def test_without_augmentation_the_dense_model_is_asked_once(bench: Bench) -> None:
    calls: list[int] = []
    model = cifar.dense("tiny")
    model.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    schedule = replace(bench.schedule, augment=False, epochs=3)
    cifar.measure(replace(bench, schedule=schedule), [Row("l2", "params=0.6", inner=True)])
    # Two images for each count of costs and the capture; the training images once for all epochs.
    assert calls.count(16) == 1
    assert 8 not in calls


def record(method: str, error: float, **more: Any) -> dict[str, Any]:
    row = vars(Row(method, **more.pop("row", {})))
    sizes = {"macs": 100, "parameters": 40, "widths": [3, 4], "seconds": 2.0}
    schedule = vars(Schedule(train_images=3_000, epochs=2))
    common = {"baseline": "resnet56", "schedule": schedule, "row": row, "error": error}
    return {**common, **sizes, **more}


def test_tables_give_the_change_from_the_dense_model() -> None:
    dense = record(DENSE, 10.0, macs=210, parameters=100)
    cut = {"error_cut": 60.0, "error_recalibrated": 20.0}
    small = record("mean", 9.5, row={"target": "macs=0.476", "inner": True}, **cut)
    line = resnet56.tuned_table([dense, small]).splitlines()[-1]
    start, end = "| mean | 100 (2.10x fewer) | 40 |", "| 0.05 | 6,000 | 90.50 | +0.50 | +0.2 | 2 |"
    assert line == f"{start}  {end}"
    fitted = {
        **small,
        "schedule": {**small["schedule"], "reconstruct": 2},
        "error_reconstructed": 25.0,
    }
    line = resnet56.tuned_table([dense, fitted]).splitlines()[-1]
    assert line == f"{start} 256: 75.0 % {end}"
    line = resnet56.cut_table([dense, small]).splitlines()[-1]
    assert line == "| mean |  |  |  | 40.0 → 80.0 |  |"
    quoted = tables23_rows.Quoted("Dirichlet", "3-4", 8.6, 46, 0.7, 52.2)
    lines = tables23.table((quoted,), [dense, fitted]).splitlines()
    assert lines[2] == "| Dirichlet, paper | 3-4 |  |  |  | 8.6 |  | 46 M | 0.7 M | 52.2% |  |"
    name, _, figures = lines[4].removeprefix("| ").partition(" | ")
    assert name == "mean, macs=0.476, inner channels alone, local"
    assert figures == "3-4 | 256: 75.0 % | 0.05 | 6,000 | 9.50 | -0.50 | 100 | 40 | 60.0% | 2 |"
