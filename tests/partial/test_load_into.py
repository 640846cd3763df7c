"""A model compressed in parts comes back from its folder, into an instance of the user's class."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from detectors import detector, images
from into_checks import assert_same_state, state
from partial_models import Branches, Cached, Generator, HardCoded, Pyramid, Reader, block
from torch import nn

from graphprune import compress, load
from graphprune.errors import CertificateError, UsageError
from graphprune.partial.result import PartialCompressed

_MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "weights read past the part, and tied": (Reader, lambda: torch.randn(4, 6)),
    "left alone beside two parts": (Branches, lambda: torch.randn(4, 6)),
    "called at two sizes": (Pyramid, lambda: torch.randn(2, 3, 12, 12)),
    "a graph in its place": (lambda: HardCoded(1), lambda: torch.randn(2, 4, 6)),
    "a generate loop": (Generator, lambda: torch.randint(0, 19, (2, 3))),
}


def saved(model: nn.Module, inputs: Any, folder: Path) -> PartialCompressed:
    """Compressed to half of its channels, and its folder written."""
    result = compress(model, inputs, method="l2", target="channels=0.5")
    assert isinstance(result, PartialCompressed)
    result.save(folder, onnx=False, latency=False)
    return result


def assert_same(own: nn.Module, result: PartialCompressed, *inputs: Any) -> None:
    """The same state, to the bit, and the same outputs."""
    mine, known = own.state_dict(), result.model.state_dict()
    assert mine.keys() == known.keys()
    assert all(torch.equal(known[name], tensor) for name, tensor in mine.items())
    with torch.no_grad():
        torch.testing.assert_close(own(*inputs), result.model(*inputs))


@pytest.mark.parametrize("name", _MODELS)
def test_it_is_what_the_run_made(name: str, tmp_path: Path) -> None:
    make, draw = _MODELS[name]
    result = saved(make(), draw(), tmp_path / "out")
    own = load(tmp_path / "out", into=make())
    assert not any(module.training for module in own.modules())
    assert_same(own, result, draw())
    own.train()
    assert all(p.requires_grad for p in own.parameters())


def test_the_result_itself_goes_into_an_instance() -> None:
    result = compress(Branches(), torch.randn(4, 6), method="l2", target="channels=0.5")
    assert isinstance(result, PartialCompressed)
    own = Branches()
    result.into(own)
    assert_same(own, result, torch.randn(4, 6))
    before = state(model := Reader())
    with pytest.raises(UsageError, match="class that was compressed"):
        result.into(model)
    assert_same_state(before, state(model))


class Shared(nn.Module):
    """Two parts with a tensor in common, and a look at another one from outside."""

    def __init__(self, fixed: bool) -> None:
        super().__init__()
        self.part = nn.Sequential(block(), HardCoded(1).part if fixed else block())
        self.other = nn.Sequential(block(), block())
        self.other[0][0].weight = self.part[0][0].weight
        self.look = self.part[0][2].bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.other(self.part(x)) + self.look
        return y if bool((y < 1e9).all()) else y * 0


@pytest.mark.parametrize("fixed", [False, True])
def test_ties_and_what_others_look_at_stay(fixed: bool, tmp_path: Path) -> None:
    result = saved(Shared(fixed), torch.randn(2, 4, 6), tmp_path / "out")
    assert {name: p.how for name, p in result.parts.items()} == {
        "part": "graph" if fixed else "class",
        "other": "class",
    }
    own = Shared(fixed)
    weight = own.other[0][0].weight
    load(tmp_path / "out", into=own)
    assert_same(own, result, torch.randn(2, 4, 6))
    prefix = "graph." if fixed else ""
    assert own.part.get_parameter(f"{prefix}0.0.weight") is own.other[0][0].weight is weight
    assert own.part.get_parameter(f"{prefix}0.2.bias") is own.look
    assert own.other[1][0].weight.shape == (8, 3)


def test_weights_trained_after_the_compression_come_back(tmp_path: Path) -> None:
    example = torch.randn(2, 3, 12, 12)
    result = compress(Pyramid(), example, method="l2", target="channels=0.5")
    assert isinstance(result, PartialCompressed)
    before = result.model.get_parameter("part.0.weight").detach().clone()
    optimiser = torch.optim.SGD(result.model.parameters(), lr=0.1)
    result.model(example)[0].square().sum().backward()
    optimiser.step()
    result.save(tmp_path / "out", onnx=False, latency=False)
    own = load(tmp_path / "out", into=Pyramid())
    assert_same(own, result, example)
    assert not torch.equal(before, own.part[0].weight)


@pytest.mark.parametrize("name", ["FasterRCNN", "SSDlite"])
def test_a_detector(name: str, tmp_path: Path, torchvision_models: Any) -> None:
    result = saved(detector(name), (images(),), tmp_path / "out")
    own = load(tmp_path / "out", into=detector(name))
    assert_same(own, result, images(120, 90))


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("branches") / "out"
    saved(Branches(), torch.randn(4, 6), folder)
    return folder


def _wrong() -> dict[str, tuple[nn.Module, str]]:
    more, wide = Branches(), Branches()
    more.more = nn.Linear(1, 1)
    wide.out = nn.Linear(6, 4)
    return {
        "another": (Cached(), "Cached has no stem"),
        "more": (more, r"Branches and model\.safetensors differ in more\.bias, more\.weight"),
        "wide": (wide, r"Branches and model\.safetensors differ in out\.bias, out\.weight"),
        "half precision": (Branches().half(), r"float16, which cannot have become"),
    }


@pytest.mark.parametrize("name", _wrong())
def test_a_wrong_instance_is_refused_in_one_line_and_unchanged(name: str, branches: Path) -> None:
    model, message = _wrong()[name]
    before = state(model)
    with pytest.raises(UsageError, match=message) as caught:
        load(branches, into=model)
    assert "\n" not in str(caught.value)
    assert model.training
    assert_same_state(before, state(model))


def test_one_that_is_small_already_is_refused(branches: Path) -> None:
    own = load(branches, into=Branches())
    with pytest.raises(UsageError, match="as it was before"):
        load(branches, into=own)


def test_a_report_cannot_point_elsewhere(branches: Path, tmp_path: Path) -> None:
    shutil.copytree(branches, tmp_path / "out")
    data = json.loads((branches / "report.json").read_text())
    data["parts"][0]["folder"] = "parts/.."
    (tmp_path / "out" / "report.json").write_text(json.dumps(data))
    with pytest.raises(CertificateError, match="never writes"):
        load(tmp_path / "out", into=Branches())


def test_weights_that_are_missing_are_named(branches: Path, tmp_path: Path) -> None:
    shutil.copytree(branches, tmp_path / "out")
    path, own = tmp_path / "out" / "model.safetensors", Branches()
    weights = safetensors.torch.load_file(path)
    del weights["out.bias"]
    safetensors.torch.save_file(weights, path)
    before = state(own)
    with pytest.raises(UsageError, match=r"differ in out\.bias"):
        load(tmp_path / "out", into=own)
    assert_same_state(before, state(own))
    path.unlink()
    with pytest.raises(CertificateError, match=r"model\.safetensors cannot be read"):
        load(tmp_path / "out", into=own)
