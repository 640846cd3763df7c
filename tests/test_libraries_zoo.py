"""The zoo of other libraries: what is installed is named, and what is not is left out."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.zoos import libraries, libraries_zoo

PRESENT = """
from torch import nn
import torch
MODELS = {"small": lambda: (nn.Linear(3, 2), torch.ones(1, 3))}
"""
ABSENT = "import no_such_library\nMODELS = {}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zoo of two libraries, one of which is not installed."""
    (tmp_path / "there.py").write_text(PRESENT)
    (tmp_path / "absent.py").write_text(ABSENT)
    monkeypatch.setattr(libraries, "__path__", [str(tmp_path)])
    caches = (libraries_zoo.builders, libraries_zoo.missing)
    importlib.invalidate_caches()
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()
    for name in ("there", "absent"):
        sys.modules.pop(f"{libraries.__name__}.{name}", None)


@pytest.mark.usefixtures("folder")
def test_only_the_libraries_that_can_be_imported_are_named() -> None:
    assert libraries_zoo.names() == ["there/small"]
    assert libraries_zoo.missing() == {"absent": "No module named 'no_such_library'"}
    model, inputs = libraries_zoo.build("there/small")
    assert isinstance(model, nn.Linear)
    assert not model.training
    assert torch.equal(inputs, torch.ones(1, 3))


def test_every_file_names_a_package_of_the_requirements() -> None:
    place = Path(next(iter(libraries.__path__)))
    listed = {
        line.removeprefix("#").strip()
        for line in (place / "requirements.txt").read_text().splitlines()
        if line.startswith("#")
    }
    files = {path.stem for path in place.glob("*.py")} - {"__init__"}
    assert files <= listed
