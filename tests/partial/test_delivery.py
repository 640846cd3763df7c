"""The folder of a model compressed in parts: whole or not at all, and verifiable."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from partial_models import Cached

from graphprune import compress, load, verify
from graphprune.cli import cli
from graphprune.errors import CertificateError, ModelError, UsageError
from graphprune.partial.report import PartialReport, read_report
from graphprune.partial.result import PartialCompressed, folder_names
from graphprune.partial.verify import _agree


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[PartialCompressed, Path]:
    torch.manual_seed(0)
    result = compress(Cached(), torch.randn(4, 6), method="l2")
    assert isinstance(result, PartialCompressed)
    return result, result.save(tmp_path_factory.mktemp("saved") / "out")


def test_the_folder_holds_each_part_and_the_whole(saved: Any) -> None:
    result, folder = saved
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    own = ("model.onnx", "model.pt2", "plan.json", "report.json")
    assert files == {"model.safetensors", "report.json"} | {f"parts/part/{file}" for file in own}
    report = read_report(folder / "report.json")
    assert isinstance(report, PartialReport)
    assert set(report.files) == files - {"report.json"}
    assert [row.name for row in report.parts] == ["part"]
    assert report.whole["calls"] == 3
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    assert {k: v.shape for k, v in weights.items()} == {
        k: v.shape for k, v in result.model.state_dict().items()
    }


def test_verify_accepts_it_and_finds_what_was_changed(saved: Any, tmp_path: Path) -> None:
    _, folder = saved
    certificate = verify(folder)
    assert certificate.passed
    assert "the whole model was not run" in certificate.inputs
    path = folder / "model.safetensors"
    before = path.read_bytes()
    weights = safetensors.torch.load(before)
    weights["part.0.bias"] = weights["part.0.bias"] + 1
    try:
        safetensors.torch.save_file(weights, path)
        with pytest.raises(CertificateError, match="hash differs"):
            verify(folder)
        _forge(folder)
        with pytest.raises(CertificateError, match=r"differ at part\.0\.bias"):
            verify(folder)
    finally:
        path.write_bytes(before)
        _forge(folder)


@pytest.mark.parametrize("folder_name", ["../elsewhere", "parts/../..", "/tmp/x", "parts"])
def test_a_report_cannot_point_elsewhere(saved: Any, folder_name: str, tmp_path: Path) -> None:
    _, folder = saved
    data = json.loads((folder / "report.json").read_text())
    data["parts"][0]["folder"] = folder_name
    (tmp_path / "report.json").write_text(json.dumps(data))
    with pytest.raises(CertificateError, match="never writes"):
        verify(tmp_path)


def _forge(folder: Path) -> None:
    from graphprune.exporters.report import file_hash

    data = json.loads((folder / "report.json").read_text())
    data["files"]["model.safetensors"] = file_hash(folder / "model.safetensors")
    (folder / "report.json").write_text(json.dumps(data))


def test_an_earlier_output_is_replaced_but_never_a_foreign_file(saved: Any, tmp_path: Path) -> None:
    result, folder = saved
    with pytest.raises(UsageError, match="--overwrite"):
        result.save(folder)
    (folder / "parts" / "notes.txt").write_text("mine")
    try:
        with pytest.raises(UsageError, match=r"parts/notes\.txt"):
            result.save(folder, overwrite=True)
        assert (folder / "parts" / "notes.txt").read_text() == "mine"
    finally:
        (folder / "parts" / "notes.txt").unlink()


def test_nothing_is_left_of_a_failure(
    saved: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _ = saved

    def fail(*_: Any, **__: Any) -> None:
        raise CertificateError("no")

    monkeypatch.setattr("graphprune.delivery.deliver.with_onnx", fail)
    with pytest.raises(CertificateError):
        result.save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_loading_the_whole_says_how_its_parts_are_loaded(saved: Any) -> None:
    result, folder = saved
    with pytest.raises(
        ModelError, match=r"in parts \(part\).*graphprune\.load\(folder, into=model\)"
    ):
        load(folder)
    part = load(folder / "parts" / "part")
    whole = result.model.get_submodule("part")
    args = result.parts["part"].compressed.stages.small.args
    torch.testing.assert_close(part(*args), whole(*args))


def test_folder_names_are_safe_and_unique() -> None:
    names = folder_names(["a.b", "A.b", "x/y", "..", "x_y"])
    assert list(names.values()) == ["a.b", "A.b_1", "x_y", "part", "x_y_1"]


def test_the_command_line_takes_the_same_road(tmp_path: Path) -> None:
    (tmp_path / "branchy.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from partial_models import Cached as make\n"
    )
    safetensors.torch.save_file(Cached().state_dict(), tmp_path / "weights.safetensors")
    command = [sys.executable, "-c", "from graphprune.cli import main; main()"]
    command += [
        "compress",
        "weights.safetensors",
        "--model",
        "branchy:make",
        "--input-shape",
        "4x6",
        "-o",
        "out",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "captured in parts" in " ".join(done.stdout.split())
    assert "put back as" in done.stdout
    again = CliRunner().invoke(cli, ["verify", str(tmp_path / "out")])
    assert again.exit_code == 0, again.output
    own = load(tmp_path / "out", into=Cached())
    assert own.part[0].weight.shape == (8, 6)
    assert own(torch.randn(3, 6)).shape == (3, 6)


def test_rows_that_make_up_for_a_scale_are_no_contradiction() -> None:
    """A class whose attention scales by the size of heads it finds: verify had refused it."""
    weight = torch.randn(6, 4)
    scaled = weight.clone()
    scaled[:2] *= 0.7
    assert _agree(scaled, weight, scaled=True)
    assert _agree(scaled.half(), weight.half(), scaled=True)
    assert not _agree(scaled, weight, scaled=False)
    assert not _agree(weight + 1, weight, scaled=True)
    assert not _agree(-weight, weight, scaled=True)
    assert not _agree(weight[:5], weight, scaled=True)
