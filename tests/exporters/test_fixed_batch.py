"""Models that run with any batch in PyTorch, but only with a fixed one in ONNX."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import PerExample

from graphprune import compress, verify
from graphprune.delivery.deliver import LATENCY_BATCH
from graphprune.errors import CertificateError
from graphprune.exporters.pt2 import load_pt2
from graphprune.exporters.report import Report
from graphprune.proof.onnxrun import OnnxModel

BATCH = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    result = compress(PerExample().eval(), torch.randn(BATCH, 3, 4, 4), method="l2")
    return result.save(tmp_path_factory.mktemp("fixed") / "out")


def test_the_file_is_written_for_the_examples_batch_and_the_report_says_so(folder: Path) -> None:
    report = Report.load(folder / "report.json")
    assert report.certificate is not None
    assert list(report.certificate.onnx_error) == [BATCH]
    (note,) = [note for note in report.notes if "batch" in note]
    assert note.startswith(f"model.onnx takes a batch of {BATCH} only: ")
    assert "\n" not in note
    assert report.models["onnx"].latency_ms is not None
    assert report.latency["batch"] == BATCH != LATENCY_BATCH


def test_the_pytorch_model_keeps_its_free_batch(folder: Path) -> None:
    module, captured = load_pt2(folder / "model.pt2")
    assert captured.dynamic_batch
    with torch.no_grad():
        assert module(torch.randn(5, 3, 4, 4)).shape == (5, 2, 4, 4)


def test_verify_checks_it_at_that_batch(folder: Path) -> None:
    assert list(verify(folder).onnx_error) == [BATCH]
    with pytest.raises(CertificateError, match="onnxruntime fails"):
        OnnxModel(folder / "model.onnx")(((torch.randn(3, 3, 4, 4),), {}))
