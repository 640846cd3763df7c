"""One exported model for all tests of this folder; tests must not write into it."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_models

from graphprune.capturing.capture import Captured
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.pt2 import save_pt2


@pytest.fixture(scope="session")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Captured, Path]:
    """A captured model, and a folder with its model.onnx and model.pt2."""
    captured = small_models.tokens()
    folder = tmp_path_factory.mktemp("delivered")
    export_onnx(captured, folder / "model.onnx")
    save_pt2(captured, folder / "model.pt2")
    return captured, folder
