"""A folder as a user has it, and the command line run in it."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result
from PIL import Image

from graphprune.cli import cli

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The user's module, imported from the work folder as the command line imports it."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(Path(__file__).parent / "userland.py", folder)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("userland")
    sys.path.remove(str(folder))
    del sys.modules["userland"]


@pytest.fixture(scope="session")
def work(user: Any) -> Path:
    """A folder with good models and data; tests that write put their files elsewhere."""
    folder = Path(user.__file__).parent
    model, example = user.make(), torch.randn(2, 1, user.SIDE, user.SIDE)
    free = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(model, (example,), dynamic_shapes=(free,))
    torch.export.save(program, folder / "model.pt2")
    one_batch = torch.export.export(user.make_one_batch(), (torch.cat([example, example]),))
    torch.export.save(one_batch, folder / "one_batch.pt2")
    torch.save(model.state_dict(), folder / "state.pt")
    torch.save(user.Choosing().state_dict(), folder / "state_of_parts.pt")
    torch.save(model, folder / "pickled.pt")
    safetensors.torch.save_file(model.state_dict(), folder / "weights.safetensors")
    torch.save(user.make_text().state_dict(), folder / "text.pt")
    np.savez(folder / "ids.npz", x=np.random.default_rng(0).integers(0, 10, (32, 7)))
    x, y = user.arrays()
    np.savez(folder / "train.npz", x=x, y=y)
    np.savez(folder / "unlabelled.npz", x=x)
    for label in range(user.CLASSES):
        (folder / "images" / str(label)).mkdir(parents=True)
        for index, image in enumerate(x[y == label, 0][:6]):
            grey = np.clip(image * 30 + 60, 0, 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / "images" / str(label) / f"{index}.png")
    return folder


@pytest.fixture
def at_work(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work folder as the current directory."""
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def run(at_work: Path) -> Run:
    """Run the command line in the work folder, in this process."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(cli, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What compress made, with delivery (tested elsewhere, and slow) left out."""
    results: list[Any] = []

    def keep(result: Any, folder: Path, **_: bool) -> Path:
        results.append(result)
        return folder

    # Where it is looked up.
    monkeypatch.setattr(sys.modules["graphprune.compressed"], "deliver", keep)
    return results
