"""The coverage benchmark: names, judgement of records, reasons, tables, and one real run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import coverage, coverage_table
from benchmarks.conditions import append
from benchmarks.coverage_gaps import gaps, short_source
from benchmarks.coverage_record import STATUSES, is_complete, judge, latest
from benchmarks.coverage_worker import Log, check, describe, failure, more, run, shapes
from benchmarks.models.randomise import magnification, randomise
from benchmarks.trained import data_of
from benchmarks.zoos.pictures import pictures
from graphprune import compress
from graphprune.errors import CertificateError

HELD = {"share": 0.2, "reason": "output of the model"}
DONE = {"removed": 0.7, "checked": True, "wrong": []}


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (DONE, "pruned"),
        (DONE | {"removed": 0.39}, "left"),
        (DONE | {"removed": 0.4}, "pruned"),
        # An output that holds 20 % leaves 80 %, of which 40 % are 32 %.
        (DONE | {"removed": 0.33, "gaps": [HELD]}, "pruned"),
        (DONE | {"removed": 0.31, "gaps": [HELD]}, "left"),
        (DONE | {"removed": 0.33, "gaps": [HELD | {"reason": "two grids cross"}]}, "left"),
        (DONE | {"checked": False, "wrong": ["shapes"]}, "wrong"),
        # What is wrong stays wrong, whatever came after.
        (DONE | {"wrong": ["shapes"], "error_kind": "timeout"}, "wrong"),
        ({"error_kind": "TargetError", "expected": True}, "left"),
        ({"error_kind": "CertificateError", "expected": True}, "refused"),
        ({"error_kind": "RuntimeError", "expected": False}, "crashed"),
        ({"error_kind": "timeout"}, "timeout"),
        ({"error_kind": "exit"}, "crashed"),
        ({}, "crashed"),
        # Removed but never compared with the user's model: not to be counted.
        ({"removed": 0.7, "error_kind": "RuntimeError", "expected": False}, "crashed"),
    ],
)
def test_judgement(record: dict[str, object], status: str) -> None:
    assert judge(record) == status
    assert status in STATUSES


def test_the_latest_line_counts_and_a_quick_one_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for name, share in (("a", 0.1), ("b", 0.2), ("a", 0.3)):
        append(path, {"zoo": "timm", "name": name, "removed": share})
    found = latest(path)
    assert [record["removed"] for record in found.values()] == [0.3, 0.2]
    assert is_complete({"quick": True}, quick=True)
    assert not is_complete({"quick": True}, quick=False)
    assert is_complete({"quick": False}, quick=False)


def test_a_killed_or_dead_process_is_told_by_its_stage() -> None:
    record = {"zoo": "timm", "name": "a", "stage": "shrink"}
    killed = coverage.closed(record, killed=True, code=-9, trouble="")
    assert (killed["status"], killed["error"]) == ("timeout", "not done with shrink in time")
    dead = coverage.closed(record, killed=False, code=1, trouble="Traceback\nMemoryError: no\n")
    assert (dead["status"], dead["error"]) == ("crashed", "shrink: MemoryError: no")
    late = coverage.closed({**record, **DONE, "onnx": "timeout"}, killed=True, code=-9, trouble="")
    assert late["status"] == "pruned"  # it was the delivery that took too long
    assert "error" not in late


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 32), nn.Linear(32, 4)
        self.scale = nn.Parameter(torch.zeros(32))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"scores": self.second(self.first(x).relu() * self.scale)}


def test_a_model_from_build_to_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "benchmarks.coverage_worker.zoo",
        lambda name: type("Zoo", (), {"build": staticmethod(lambda _: (Net(), torch.randn(2, 6)))}),
    )
    log = Log(tmp_path / "record.json", {"zoo": "timm", "name": "net"})
    run(log, quick=True)
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["status"] == "pruned", record
    assert record["captured"] == "whole"
    assert (record["params_before"], record["params_after"]) == (388, 196)
    assert record["capture_error"] < 1e-6
    assert record["shrink_error"] < 1e-4
    assert {"build", "capture", "shrink", "certify"} <= record["seconds"].keys()
    reasons = {gap["example"]: gap["share"] for gap in record["gaps"]}
    # first.weight: 6 x 16 of an ideal 3 x 16 stay; second: 4 x 16 of 2 x 16, and 4 of 2 biases.
    assert reasons["first.weight[1]"] == pytest.approx(48 / 388)
    assert reasons["second.weight[0]"] == pytest.approx(34 / 388)


def test_gaps_add_up_to_the_distance_from_the_ideal() -> None:
    result = compress(randomise(Net(), torch.randn(8, 6)), torch.randn(2, 6), method="l2")
    found = gaps(result.stages.dense.module, result.model, result.stages.analysis)
    ideal = 192 / 4 + 32 / 2 + 128 / 4 + 4 / 2 + 32 / 2
    assert sum(gap.share for gap in found) == pytest.approx((196 - ideal) / 388)


def test_failures_are_recorded_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("no such thing\nat all")

    monkeypatch.setattr("benchmarks.coverage_worker.zoo", broken)
    log = Log(tmp_path / "record.json", {"zoo": "timm", "name": "net"})
    run(log, quick=True)
    record = log.record
    assert (record["status"], record["stage"]) == ("crashed", "build")
    assert record["error"] == "no such thing at all"
    assert "test_coverage_benchmark.py" in record["error_at"]
    assert failure(CertificateError("x"))["expected"]


def test_a_wrong_result_is_found() -> None:
    model = randomise(Net(), torch.randn(8, 6))
    result = compress(model, torch.randn(2, 6), method="l2")
    assert check(model, torch.randn(2, 6), result)["wrong"] == []
    assert describe(model, result)["removed"] == pytest.approx(192 / 388)
    with torch.no_grad():
        model.second.weight += 1  # as if the capture had taken other weights
    found = check(model, torch.randn(2, 6), result)
    assert not found["checked"]
    assert "captured graph differs by" in found["wrong"][0]
    result.model.register_forward_hook(lambda *_: {"scores": torch.full((2, 3), torch.nan)})
    wrong = check(model, torch.randn(2, 6), result)["wrong"]
    assert any("(2, 4)" in line and "(2, 3)" in line for line in wrong)
    assert any("not finite" in line for line in wrong)


def test_shapes_name_the_outputs() -> None:
    tree = {"a": torch.zeros(2, 3), "b": [torch.zeros(1, dtype=torch.int64), None]}
    assert shapes(tree) == ["['a'] (2, 3) torch.float32", "['b'][0] (1,) torch.int64"]
    assert shapes(torch.zeros(2, 3), counted=False) == ["(3,) torch.float32"]


def test_more_inputs_double_the_batch_with_new_floats() -> None:
    (x,), _ = more(torch.ones(2, 3))
    assert torch.equal(x[:2], torch.ones(2, 3))
    assert not torch.equal(x[2:], torch.ones(2, 3))
    _, named = more({"ids": torch.arange(4)})
    assert named["ids"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    images = ([torch.ones(3, 4, 4)],)
    assert more(images) == (images, {})


def test_levelling_gives_a_blind_network_sight() -> None:
    blind = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4))
    with torch.no_grad():
        for layer in blind:
            layer.weight.mul_(1e-4)
    x = torch.randn(8, 8)
    spread = float(blind(x).detach().std(0).mean())
    levelled = randomise(blind, x, level=True)
    assert spread < 1e-6
    assert 0.3 < float(levelled(x).detach().std(0).mean()) < 3
    assert not any(module._forward_hooks for module in levelled.modules())


class Chaos(nn.Module):
    """Each step magnifies what differs; how much hangs on the norm's gamma."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(8):
            x = torch.sin(8 * self.norm(x))
        return x


def test_a_chaotic_network_is_damped() -> None:
    x = torch.randn(8, 8)
    wild, calm = (randomise(Chaos(), x, level=level).norm.weight for level in (False, True))
    assert magnification(randomise(Chaos(), x), ((x,), {})) > 50
    assert torch.equal(calm, wild / 8)
    assert magnification(nn.Linear(8, 8), ((x,), {})) < 5


def test_sources_are_cut() -> None:
    line = ":12, in forward: x = a / b"
    here = f"/a/lib/site-packages/timm/models/vit.py{line}"
    assert short_source(here) == f"timm/models/vit.py{line}"
    text = "fails at /home/me/work/model/nets/net.py:3: x / y; see /a/site-packages/timm/x.py"
    assert short_source(text) == "fails at work/model/nets/net.py:3: x / y; see timm/x.py"
    assert short_source("batch/step a/b, 3/4") == "batch/step a/b, 3/4"
    assert short_source("") == ""


def test_page_counts_explains_and_lists() -> None:
    gap = {"share": 0.3, "reason": "fixed", "op": "aten.add", "source": "m.py:1", "example": "w[0]"}
    records = [
        {"zoo": "timm", "name": "good", "status": "pruned", **DONE, "onnx": "proved",
         "onnx_error": 2e-7, "params_before": 2_000_000, "shrink_error": 1e-6,
         "seconds": {"capture": 1.0, "export": 9.0}},
        {"zoo": "timm", "name": "little", "status": "left", "removed": 0.2, "gaps": [gap],
         "checked": True, "onnx": "ModelError", "onnx_error_line": "no translation",
         "onnx_stage": "export"},
        {"zoo": "torchvision", "name": "none", "status": "refused", "stage": "capture",
         "error": "cannot be captured", "error_kind": "ModelError", "expected": True},
        {"zoo": "torchvision", "name": "wide", "status": "left", "removed": 0.35, "checked": True,
         "gaps": [gap | {"reason": "output of the model", "share": 0.2}]},
    ]  # fmt: skip
    page = coverage_table.page(records)
    assert "| timm | 2 | 1 | 1 | 0 | 0 | 0 | 0 | 1 | 1 |" in page
    assert "| torchvision | 2 | 1 | 0 | 1 | 0 | 0 | 0 | 0 | 0 |" in page
    assert "| all | 4 | 2 | 1 | 1 | 0 | 0 | 0 | 1 | 1 |" in page
    # What the interface holds is taken off first; the table says that less than 40 % went.
    assert "| wide | pruned, below it |" in page
    assert "| good | pruned |  | 2.00 M | 70.0% | 1e-06 | 2e-07 | 1.0 s |  |" in page
    assert "**timm little**, 20.0% removed" in page
    assert "- 30.0%: fixed (`aten.add` at `m.py:1`), for example `w[0]`" in page
    assert "**timm good**" not in page
    assert "- **torchvision none**: refused at capture: cannot be captured" in page
    assert "- timm little: ModelError at export: no translation" in page


def test_nothing_is_run_where_all_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def fake(zoo_name: str, name: str, options: coverage.Options) -> dict[str, object]:
        ran.append(name)
        return {"zoo": zoo_name, "name": name, "status": "pruned", "quick": options.quick}

    names = type("Zoo", (), {"names": staticmethod(lambda: ["one", "two", "other"])})
    monkeypatch.setattr(coverage, "zoo", lambda _: names)
    monkeypatch.setattr(coverage, "run_model", fake)
    output = str(tmp_path / "out.jsonl")
    call = ["--zoo", "timm", "--output", output]
    runner = CliRunner()
    assert runner.invoke(coverage.main, [*call, "--quick", "--only", "o*"]).exit_code == 0
    assert ran == ["one", "other"]
    runner.invoke(coverage.main, [*call, "--quick"])
    assert ran == ["one", "other", "two"]
    runner.invoke(coverage.main, [*call])  # the delivery is still to be tried
    assert ran == ["one", "other", "two", "one", "two", "other"]
    runner.invoke(coverage.main, call)
    assert len(ran) == 6
    runner.invoke(coverage.main, [*call, "--again", "--only", "two"])
    assert len(ran) == 7
    append(tmp_path / "out.jsonl", {"zoo": "timm", "name": "one", "status": "timeout"})
    runner.invoke(coverage.main, [*call, "--retry"])
    assert ran[7:] == ["one"]


def test_zoos_are_as_large_as_they_are_said_to_be() -> None:
    for library in ("timm", "torchvision", "transformers"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    from benchmarks.zoos import torchvision_zoo, transformers_zoo
    from benchmarks.zoos.timm_zoo import families

    members = families()
    assert len(members) >= 98
    assert all(members.values())
    assert len(transformers_zoo.names()) >= 40
    tasks = {torchvision_zoo._task(name) for name in ("resnet18", "raft_small", "mvit_v2_s")}
    assert tasks == {"classification", "optical_flow", "video"}


def test_pictures_differ_where_noise_is_alike() -> None:
    drawn = pictures(16, 3, 40, 36)
    assert drawn.shape == (16, 3, 40, 36)
    assert 0.5 < float(drawn.std()) < 1.5
    noise = torch.randn(16, 3, 40, 36)
    assert float(drawn.mean((2, 3)).std()) > 5 * float(noise.mean((2, 3)).std())
    assert pictures(2, 3, 4, 20, 20).shape == (2, 3, 4, 20, 20)


def test_suppression_keeps_the_best_of_what_overlaps() -> None:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from benchmarks.zoos.torchvision_zoo import suppress

    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30.0], [0, 0, 10, 5]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.8])
    # Overlaps: 0 and 1 share 81 of 119; 3 and 1 share 36 of 114; 3 and 0 share 50 of 100.
    assert suppress(boxes, scores, 0.5).tolist() == [1, 3, 2]
    assert suppress(boxes, scores, 0.7).tolist() == [1, 3, 2, 0]


def test_data_of_example_inputs() -> None:
    x, mask = torch.randn(2, 3), torch.ones(2, 5)
    assert data_of(x)[0][0].shape == (8, 3)
    assert data_of({"x": x, "mask": mask})["mask"].shape == (8, 5)
    assert data_of((x, torch.ones(4, 3))) is None
    assert data_of((x, None)) is None
