"""Models exported once for all tests of this folder; tests must not write into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import small_models

from graphprune.capturing.capture import Captured
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.pt2 import save_pt2

_MAKERS: dict[str, Callable[[], Captured]] = {
    "traits": small_models.traits,
    "tokens": small_models.tokens,
    "fixed_batch": small_models.fixed_batch,
}


@pytest.fixture(scope="session", params=sorted(_MAKERS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Captured, Path]:
    """(name, captured model, folder with its model.onnx and model.pt2)."""
    captured = _MAKERS[request.param]()
    folder = tmp_path_factory.mktemp(request.param)
    export_onnx(captured, folder / "model.onnx")
    save_pt2(captured, folder / "model.pt2")
    return request.param, captured, folder
