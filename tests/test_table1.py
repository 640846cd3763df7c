"""Table 1: cuts to given widths, means and spreads over seeds, what beats what, what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks.compressing import Task
from benchmarks.data import Images
from benchmarks.measure import widths
from benchmarks.models.lenet import LeNet5
from benchmarks.paper import table1
from benchmarks.paper.cutting import Ranked, plan_for, rank, small_model
from benchmarks.paper.table1_rows import PAPER, Row, rows_of, table

SCHEDULE = {"finetune_epochs": 4, "lr": 0.01}


def record(method: str, seed: int, error: float, **others: Any) -> dict[str, Any]:
    return {
        "method": method,
        "target": "widths=3-10-27",
        "ranking": "local",
        "schedule": SCHEDULE,
        "seed": seed,
        "widths": [3, 10, 27],
        "error": error,
        "error_pruned": 60 + error,
        "macs": 95_790,
        "parameters": 5_465,
        **others,
    }


def ours(error: float, params: int, flops: int) -> Row:
    return Row("ours", 4, ("1-2-3",), (error,), (flops,), (params,))


@pytest.mark.parametrize(
    ("error", "params", "flops", "names"),
    [
        (0.95, 90_000, 200_000, []),  # SBP errs less and costs more
        (1.0, 100_000, 200_000, ["SBP, paper"]),  # fewer parameters suffice
        (1.0, 5_000, 110_000, []),
        (1.05, 5_000, 120_000, ["RDP, paper"]),  # fewer MACs suffice
        (1.2, 5_000, 100_000, []),
        (1.2, 5_000, 115_000, ["FDOO (100K), paper"]),
        (1.2, 5_800, 100_000, ["Dirichlet (mean), paper", "Dirichlet (joint), paper"]),
    ],
)
def test_what_beats_a_row(error: float, params: int, flops: int, names: list[str]) -> None:
    assert [row.name for row in PAPER if row.beats(ours(error, params, flops))] == names


def test_to_dominate_is_to_err_less_and_to_cost_no_more() -> None:
    row = ours(1.0, 6_000, 110_000)
    assert ours(0.9, 6_000, 110_000).dominates(row)
    assert not ours(1.0, 5_000, 100_000).dominates(row)
    assert not ours(0.9, 6_001, 100_000).dominates(row)
    assert not ours(0.9, 5_000, 110_001).dominates(row)


def test_rows_are_means_and_spreads_over_seeds() -> None:
    records = [
        record("l2", 1, 1.4),
        record("mean", 0, 9.9),
        record("mean", 2, 1.1),
        record("mean", 1, 1.3),
        record("mean", 0, 1.2),  # run again: this one counts
        record("mean", 0, 0.8, schedule={"finetune_epochs": 12, "lr": 0.01}),
    ]
    long, short, other = rows_of(records)
    assert (long.name, long.epochs, long.errors) == ("mean", 12, (0.8,))
    assert (short.name, short.epochs, short.errors) == ("mean", 4, (1.2, 1.3, 1.1))
    assert short.error == pytest.approx(1.2)
    assert other.errors == (1.4,)
    lines = table([long, short, other]).splitlines()
    assert len(lines) == 2 + len(PAPER) + 3
    assert lines[-2] == (
        "| mean | 4 | 3-10-27 | 1.20 ± 0.10 | 1.10 to 1.30 | 61.2 | 3 | 95,790 | 5,465 | none |"
    )
    assert lines[2].endswith("| 1.1 |  |  |  | 168,000 | 6,000 | 1 of ours |")


def test_methods_that_choose_their_widths_show_them_all() -> None:
    chosen = {"target": "macs=0.05", "ranking": "global"}
    (row,) = rows_of(
        [
            record("mean", 0, 1.2, **chosen),
            record("mean", 1, 1.0, **chosen, widths=[3, 9, 30]) | {"macs": 95_700},
        ]
    )
    assert row.name == "mean, macs=0.05 global"
    assert row.architectures == ("3-10-27", "3-9-30")
    assert row.cost == (95_745, 5_465)


def test_what_has_been_run_is_not_run_again() -> None:
    keys = ("method", "target", "seed", "schedule")
    wanted = [
        {key: record(method, seed, 0.0)[key] for key in keys}
        for seed in (0, 1)
        for method in ("mean", "l2")
    ]
    there = [record("mean", 0, 1.0), record("l2", 1, 1.0, schedule={"finetune_epochs": 5})]
    assert table1.missing(there, wanted) == wanted[1:]


def grey(count: int, size: int = 28) -> Images:
    """Two classes of noisy images: bright above, or bright below."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (count,), generator=generator)
    pixels = torch.randint(0, 120, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    for label, rows in ((0, slice(0, size // 2)), (1, slice(size // 2, size))):
        pixels[labels == label, :, rows] += 100
    return Images(pixels, labels, (0.5,), (0.25,))


@pytest.fixture
def ranked() -> Ranked:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    images = grey(40, 8)
    return rank(Task(model.eval(), images, images, batch_size=20), "l2", 0)


def test_a_cut_to_widths_keeps_the_most_important(ranked: Ranked) -> None:
    plan = plan_for(ranked, "widths=3-4")
    assert widths(small_model(ranked, plan)) == [3, 4]
    for name, size in (("0.weight", 3), ("3.weight", 4)):
        best = ranked.scores.by_group[name].argsort(descending=True)[:size]
        assert plan.kept[name][0] == sorted(best.tolist())


@pytest.mark.parametrize("target", ["widths=3", "widths=3-7", "widths=0-4"])
def test_widths_that_cannot_be_are_refused(ranked: Ranked, target: str) -> None:
    with pytest.raises(ValueError, match=r"widths for|cannot be cut to"):
        plan_for(ranked, target)


def test_the_command_makes_rows_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = grey(60)
    torch.manual_seed(0)
    model = LeNet5().eval()
    monkeypatch.setattr(table1, "dense", lambda name: model)
    monkeypatch.setattr(table1, "mnist", lambda: (images, images))
    output = tmp_path / "out.jsonl"
    command = [
        *("--method", "l2", "--method", "vcnp", "--target", "widths=2-3-4", "--seed", "1"),
        *("--rank-images", "50", "--finetune-epochs", "1", "--batch-size", "20"),
        *("--output", str(output)),
    ]
    done = CliRunner().invoke(table1.main, command, catch_exceptions=False)
    assert done.exit_code == 0
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [one["method"] for one in records] == ["l2", "vcnp"]
    assert all(one["widths"] == [2, 3, 4] and one["seed"] == 1 for one in records)
    assert output.with_suffix(".md").read_text() == table(rows_of(records))
    again = CliRunner().invoke(table1.main, command, catch_exceptions=False)
    assert "2 of 2 rows are there already" in again.output
    assert len(output.read_text().splitlines()) == 2
