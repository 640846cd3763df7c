"""Other formats from a folder that compress wrote: registered exporters and one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnx
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from torch import nn

from graphprune import compress, load
from graphprune.capturing.capture import Captured
from graphprune.cli import cli
from graphprune.delivery.export import export
from graphprune.errors import CertificateError, ModelError, UsageError
from graphprune.exporters.base import Exporter
from graphprune.exporters.onnx import export_onnx


@dataclass(frozen=True)
class Weights(Exporter):
    """The weights alone, and a file that belongs to them."""

    name: ClassVar[str] = "weights"
    note: str = "none"

    def export(self, captured: Captured, folder: Path) -> tuple[Path, ...]:
        weights, note = folder / "weights.safetensors", folder / "more" / "note.txt"
        safetensors.torch.save_file(captured.module.state_dict(), weights)
        note.parent.mkdir()
        note.write_text(self.note)
        return weights, note


@dataclass(frozen=True)
class Spoilt(Exporter):
    """ONNX of a model with another first bias than the one asked for."""

    name: ClassVar[str] = "spoilt"

    def export(self, captured: Captured, folder: Path) -> tuple[Path, ...]:
        bias = captured.module.get_parameter("0.bias")
        with torch.no_grad():
            bias += 1.0
            files = export_onnx(captured, folder / "model.onnx")
            bias -= 1.0
        return files


class Refusing(Exporter):
    name: ClassVar[str] = "refusing"

    def export(self, captured: Captured, folder: Path) -> tuple[Path, ...]:
        (folder / "half").write_text("half")
        raise ModelError("this format has no such operator")


@dataclass(frozen=True)
class Writing(Exporter):
    """Hands over what it is told to; one file is written."""

    name: ClassVar[str] = "writing"
    answer: Callable[[Path], object]

    def export(self, captured: Captured, folder: Path) -> tuple[Path, ...]:
        (folder / "it.bin").write_text("written")
        return self.answer(folder)  # type: ignore[return-value]


@dataclass(frozen=True)
class Kept(Exporter):
    """As :class:`Spoilt`, and the bias is left as it is."""

    name: ClassVar[str] = "kept"

    def export(self, captured: Captured, folder: Path) -> tuple[Path, ...]:
        captured.module.get_parameter("0.bias").data += 1.0
        return export_onnx(captured, folder / "model.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    result = compress(model, torch.randn(2, 4), method="l2")
    return result.save(tmp_path_factory.mktemp("export") / "out", onnx=False, latency=False)


def test_onnx_with_other_options_is_proved(folder: Path, tmp_path: Path) -> None:
    exported = export(folder, "onnx{opset=19}", tmp_path / "to")
    assert [file.name for file in exported.files] == ["model.onnx"]
    assert onnx.load(exported.files[0]).opset_import[0].version == 19
    assert 0 <= exported.onnx_error["model.onnx"] < 1e-4


def test_an_exporter_of_one_s_own_by_path_and_by_value(folder: Path, tmp_path: Path) -> None:
    by_path = export(folder, f"{__name__}:Weights{{note=mine}}", tmp_path / "a")
    by_value = export(folder, Weights("mine"), tmp_path / "b")
    for exported in (by_path, by_value):
        weights, note = exported.files
        assert note.read_text() == "mine"
        assert note.parent.name == "more"
        found = safetensors.torch.load_file(weights)
        for name, tensor in load(folder).state_dict().items():
            assert torch.equal(found[name], tensor)
        assert exported.onnx_error == {}


@pytest.mark.parametrize("spoilt", [Spoilt(), Kept()])
def test_onnx_that_computes_something_else_is_not_written(
    spoilt: Exporter, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(CertificateError, match="onnxruntime against PyTorch"):
        export(folder, spoilt, tmp_path / "to")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda to: None, "gave no path; expected a tuple of the paths that it wrote"),
        (lambda to: (), "gave no path"),
        (lambda to: str(to / "it.bin"), "gave a str"),
        (lambda to: to / "it.bin", "gave a PosixPath"),
        (lambda to: [str(to / "it.bin")], "gave a str among them"),
        (lambda to: (Path("it.bin"),), "gave it.bin, which is not within folder"),
        (lambda to: (to.parent / "it.bin",), "it.bin, which is not within folder"),
        (lambda to: (to,), "which is not within folder"),
        (lambda to: (to / "it.bin", to / "ghost.bin"), "gave ghost.bin, which it has not written"),
        (lambda to: 1 / 0, "raised ZeroDivisionError"),
        (lambda to: (to / "no" / "it.bin").write_text("x"), "raised FileNotFoundError"),
    ],
)
def test_an_exporter_that_answers_wrongly_is_named(
    answer: Callable[[Path], object], words: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"^exporter writing: export\(captured, ") as caught:
        export(folder, Writing(answer), tmp_path / "to")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_list_will_do_and_a_folder_too(folder: Path, tmp_path: Path) -> None:
    def packed(to: Path) -> object:
        (to / "model.package").mkdir()
        return [to / "model.package", to / "it.bin"]

    exported = export(folder, Writing(packed), tmp_path / "to")
    assert exported.files == (tmp_path / "to" / "model.package", tmp_path / "to" / "it.bin")
    assert exported.files[1].read_text() == "written"


def test_what_an_exporter_refuses_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such operator"):
        export(folder, Refusing(), tmp_path / "to")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tflite", "'tflite' is not registered in graphprune.exporters; known are onnx, pt2"),
        ("onnx{opest=17}", "opest"),
        ("fractions:Fraction", "is no exporter"),
    ],
)
def test_wrong_names_and_options(text: str, message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        export(folder, text, tmp_path / "to")


def test_a_changed_or_missing_model_is_refused(folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "report.json").write_bytes((folder / "report.json").read_bytes())
    for content in (None, b"other"):
        if content is not None:
            (damaged / "model.pt2").write_bytes(content)
        with pytest.raises(CertificateError, match="not the file that compress wrote"):
            export(damaged, "onnx", tmp_path / "to")
    with pytest.raises(UsageError, match="is no folder"):
        export(tmp_path / "nowhere", "onnx", tmp_path / "to")


def test_a_model_in_parts_is_sent_to_its_parts(folder: Path, tmp_path: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    report |= {"captured": "partial", "why": "a loop", "parts": [], "left": [], "whole": {}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(UsageError, match=r"in parts; export each of the folders in .*parts"):
        export(tmp_path, "onnx", tmp_path / "to")


def test_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    asked = ["export", str(folder), "--to", "pt2", "-o", str(tmp_path / "to")]
    result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 0, result.output
    assert "model.pt2 (not proved)" in result.output.replace("\n", "")
    again = CliRunner().invoke(cli, asked)
    assert again.exit_code != 0
    assert again.stderr.startswith("error: ")
    assert "is not empty" in again.stderr
