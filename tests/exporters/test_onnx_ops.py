"""Operators of other libraries on their way out: translated, refused early, or without ONNX."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import custom_ops as ops
import onnx
import pytest
import torch
from click.testing import CliRunner
from custom_ops import Network, inputs
from onnxscript import opset18
from torch import Tensor, nn

import graphprune
from graphprune.cli import cli
from graphprune.errors import CertificateError, ModelError, UsageError
from graphprune.exporters.onnx_ops import TRANSLATIONS, require_onnx
from graphprune.rules import plugins
from graphprune.rules.rule import RULES

TESTS = Path(ops.__file__).parent


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    before = dict(RULES), dict(TRANSLATIONS), dict(plugins._IMPORTED)
    plugins._IMPORTED.clear()
    yield
    for table, content in zip((RULES, TRANSLATIONS, plugins._IMPORTED), before, strict=True):
        table.clear()  # type: ignore[attr-defined]
        table.update(content)  # type: ignore[attr-defined]


def network() -> Network:
    return Network(ops.scale_channels)


def translate() -> None:
    @graphprune.onnx_translation(ops.scale_channels)
    def scaled(x: Any, scale: Any) -> Any:
        return opset18.Mul(x, opset18.Unsqueeze(scale, [1]))


def compressed(**config: Any) -> Any:
    options = graphprune.CompressConfig(**config)
    return graphprune.compress(network(), inputs(), method="l2", config=options)


def test_without_a_translation_the_error_says_what_and_where_and_what_to_do() -> None:
    with pytest.raises(ModelError) as caught:
        require_onnx(graphprune.capture(network(), inputs()).module)
    message = str(caught.value)
    assert message.startswith("operator graphprune_tests.scale_channels.default (")
    assert "custom_ops.py:" in message
    assert "graphprune.onnx_translation" in message
    assert "--no-onnx" in message
    assert "\n" not in message


def test_the_error_comes_before_the_long_work() -> None:
    stages = []
    with pytest.raises(ModelError, match="has no ONNX translation"):
        compressed(needs_onnx=True, progress=lambda stage, *_: stages.append(stage))
    assert set(stages) == {"capture"}


def test_saving_without_a_translation_writes_nothing(tmp_path: Path) -> None:
    result = compressed()
    with pytest.raises(ModelError, match="has no ONNX translation"):
        result.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_translated_operator_is_delivered_and_proved(tmp_path: Path) -> None:
    translate()
    result = compressed(needs_onnx=True)
    assert result.plan.widths["before.weight"] == (8, 4)
    folder = result.save(tmp_path / "out", latency=False)
    nodes = {node.op_type for node in onnx.load(folder / "model.onnx").graph.node}
    assert nodes <= {"Conv", "Relu", "Mul", "Unsqueeze", "ReduceMean", "Gemm"}
    certificate = graphprune.verify(folder)
    assert certificate.passed
    assert set(certificate.onnx_error) == {2, 3}
    assert certificate.reload_onnx_error is not None
    # A lost file is not one that was left out.
    report = json.loads((folder / "report.json").read_text())
    del report["files"]["model.onnx"]
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "model.onnx").unlink()
    with pytest.raises(CertificateError, match=r"model\.onnx is missing"):
        graphprune.verify(folder)


def test_a_wrong_translation_is_caught(tmp_path: Path) -> None:
    graphprune.onnx_translation(ops.scale_channels)(lambda x, scale: opset18.Identity(x))
    with pytest.raises(CertificateError, match="onnxruntime against PyTorch"):
        compressed(needs_onnx=True).save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_translation_that_fails_is_named() -> None:
    @graphprune.onnx_translation(ops.scale_channels)
    def fails(x: Any, scale: Any) -> Any:
        raise RuntimeError("not like this")

    with pytest.raises(ModelError, match=r"translation of graphprune_tests.*not like this") as e:
        compressed(needs_onnx=True)
    assert "--no-onnx" in str(e.value)


def test_a_second_translation_is_an_error() -> None:
    translate()
    with pytest.raises(UsageError, match="already"):
        translate()


def test_what_is_no_operator_has_no_translation() -> None:
    with pytest.raises(UsageError, match="is no operator"):
        graphprune.onnx_translation(torch.relu)


def test_graphs_of_torch_alone_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", None)
    require_onnx(graphprune.capture(nn.Sequential(nn.Linear(3, 2)), torch.ones(2, 3)).module)


def test_without_onnx_the_rest_is_delivered_and_proved(tmp_path: Path) -> None:
    folder = compressed().save(tmp_path / "out", onnx=False)
    assert {p.name for p in folder.iterdir()} == {"model.pt2", "plan.json", "report.json"}
    report = json.loads((folder / "report.json").read_text())
    assert list(report["models"]) == ["dense", "pruned"]
    assert report["models"]["pruned"]["latency_ms"] > 0
    assert report["certificate"]["passed"]
    assert report["certificate"]["reload_error"] is not None
    assert report["certificate"]["onnx_error"] == {}
    assert report["certificate"]["reload_onnx_error"] is None
    assert graphprune.load(folder)(inputs()).shape == (2, 4)


def test_half_precision_is_delivered_without_onnx(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(torch.bfloat16)
    result = graphprune.compress(model, torch.randn(2, 8, dtype=torch.bfloat16), method="l2")
    folder = result.save(tmp_path / "out", onnx=False, latency=False)
    assert graphprune.load(folder).get_parameter("0.weight").dtype == torch.bfloat16


def test_an_operator_that_no_module_defines_cannot_be_saved(tmp_path: Path) -> None:
    torch.library.define("graphprune_homeless::twice", "(Tensor x) -> Tensor")
    torch.library.impl("graphprune_homeless::twice", "CPU")(lambda x: 2 * x)
    torch.library.register_fake("graphprune_homeless::twice")(torch.empty_like)

    class Twice(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.graphprune_homeless.twice(super().forward(x))

    model = Twice(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    result = graphprune.compress(model, torch.randn(2, 3), method="l2")
    with pytest.raises(ModelError, match=r"torch\.library\.custom_op in a module") as caught:
        result.save(tmp_path / "out", onnx=False)
    assert "graphprune_homeless.twice.default" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.export.save(torch.export.export(network().eval(), (inputs(),)), "model.pt2")
    command = ["compress", "model.pt2", "-o", "out", "-q", "--rules", "custom_ops"]
    refused = CliRunner().invoke(cli, command)
    assert refused.exit_code == ModelError.exit_code
    assert "has no ONNX translation" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert CliRunner().invoke(cli, [*command, "--no-onnx"]).exit_code == 0
    # Elsewhere the library is not imported yet, and the error says so.
    code = f"import sys; sys.path.append({str(TESTS)!r}); from graphprune.cli import main; main()"
    run = [sys.executable, "-c", code, "verify", "out"]
    unknown = subprocess.run(run, capture_output=True, text=True, check=False)
    assert unknown.returncode == ModelError.exit_code
    assert "calls graphprune_tests::scale_channels, which no imported library" in unknown.stderr
    assert "--rules" in unknown.stderr
    known = subprocess.run(
        [*run, "--rules", "custom_ops"], capture_output=True, text=True, check=False
    )
    assert known.returncode == 0, known.stderr
