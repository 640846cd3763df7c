"""The .pt2 file: no pickle in it, and the model comes back whole and trainable."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import small_models
import torch
from torch import nn

from graphprune import compress
from graphprune.capturing.capture import Captured, capture
from graphprune.delivery.load import load
from graphprune.errors import ModelError, UnsafePickleError
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.program import export_program
from graphprune.exporters.pt2 import load_pt2, save_pt2
from graphprune.graph.trees import is_plain, tensor_leaves
from graphprune.io import load_model
from graphprune.io.archive import check_program_archive
from graphprune.proof.compare import max_relative_error
from graphprune.proof.fresh_inputs import fresh_inputs
from graphprune.proof.onnxrun import OnnxModel


def test_no_record_is_a_pickle(exported: tuple[str, Captured, Path]) -> None:
    _, _, folder = exported
    check_program_archive((folder / "model.pt2").read_bytes(), "model.pt2")
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert content[:2] not in (b"PK", b"\x80\x02", b"\x80\x04"), name
            if name.endswith(".pt"):
                assert content == b"", name


def test_loading_unpickles_nothing(
    exported: tuple[str, Captured, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    load_pt2(exported[2] / "model.pt2")


def test_comes_back_as_it_was(exported: tuple[str, Captured, Path]) -> None:
    _, captured, folder = exported
    module, again = load_pt2(folder / "model.pt2")
    assert list(module.state_dict()) == list(captured.module.state_dict())
    assert dict(module.named_parameters()).keys() == dict(captured.module.named_parameters()).keys()
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert again.batch_dims == captured.batch_dims
    saved = tensor_leaves((captured.args, captured.kwargs))
    for old, new in zip(saved, tensor_leaves((again.args, again.kwargs)), strict=True):
        assert torch.equal(old, new)
    args, kwargs = fresh_inputs(captured, seed=4)
    with torch.no_grad():
        outputs = module(*args, **kwargs)
        assert max_relative_error(outputs, captured.module(*args, **kwargs)) < 1e-6
    assert is_plain(outputs)
    assert all("val" in node.meta for node in module.graph.nodes if node.op != "output")


def test_dynamic_batch_survives(exported: tuple[str, Captured, Path]) -> None:
    name, captured, folder = exported
    if name == "fixed_batch":
        pytest.skip("its batch is fixed")
    module, _ = load_pt2(folder / "model.pt2")
    for size in (1, 5):
        args, kwargs = fresh_inputs(captured, seed=4, size=size)
        assert tensor_leaves(module(*args, **kwargs))[0].shape[0] == size


def test_trains_on_exactly_as_the_original_would(tmp_path: Path) -> None:
    captured = small_models.traits()
    torch.manual_seed(1)
    original = small_models.Traits()
    module, _ = load_pt2(save_pt2(captured, tmp_path / "model.pt2"))
    for model in (original, module):
        model.train()
        for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
            assert dropout.training
    args, kwargs = fresh_inputs(captured, seed=4, size=6)
    for model in (original, module):
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(2):
            optimiser.zero_grad()
            torch.manual_seed(step)  # the same dropout
            logits, features = model(*args, **kwargs)
            (logits.square().mean() + features.mean()).backward()
            optimiser.step()
    expected = original.state_dict()
    trained = {name: value for name, value in module.state_dict().items() if name in expected}
    assert trained.keys() == expected.keys()
    assert max_relative_error(trained, dict(expected)) < 1e-5
    assert module.first.weight is module.second.weight


def test_frozen_parameters_stay_frozen(tmp_path: Path) -> None:
    captured = small_models.tokens()
    captured.module.get_parameter("table.weight").requires_grad_(False)
    module, _ = load_pt2(save_pt2(captured, tmp_path / "model.pt2"))
    frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
    assert frozen == ["table.weight"]


class Autoencoder(nn.Module):
    """The decoder's weight is the encoder's; nothing but the hidden channels can go."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.frozen = nn.Linear(6, 8), nn.Linear(6, 6)
        self.decode = self.encode.weight
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(torch.relu(self.encode(x)) @ self.decode)


def test_the_program_can_be_compressed_again(tmp_path: Path) -> None:
    captured = capture(Autoencoder(), torch.randn(3, 6))
    loaded = load_model(save_pt2(captured, tmp_path / "model.pt2"))
    assert torch.equal(loaded.example_inputs[0][0], captured.args[0])
    result = compress(loaded.model, loaded.example_inputs, method="l2", target="channels=0.5")
    small = result.stages.small.module
    assert small.decode is small.encode.weight
    assert small.decode.shape == (4, 6)
    assert {n for n, p in small.named_parameters() if not p.requires_grad} == {
        "frozen.weight",
        "frozen.bias",
    }


def test_load_takes_the_folder(exported: tuple[str, Captured, Path], tmp_path: Path) -> None:
    module = load(exported[2])
    assert not module.training
    with pytest.raises(ModelError, match=r"no model\.pt2"):
        load(tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_one_clear_line(
    exported: tuple[str, Captured, Path], tmp_path: Path, keep: float
) -> None:
    data = (exported[2] / "model.pt2").read_bytes()
    (tmp_path / "model.pt2").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ModelError) as caught:
        load_pt2(tmp_path / "model.pt2")
    assert "\n" not in str(caught.value)


def test_a_program_of_someone_else_is_refused(tmp_path: Path) -> None:
    captured = small_models.fixed_batch()
    program = torch.export.export(captured.module, captured.args)
    program.example_inputs = None
    torch.export.save(program, tmp_path / "model.pt2")
    with pytest.raises(ModelError, match="not written by this version of graphprune"):
        load_pt2(tmp_path / "model.pt2")


def test_a_pickle_in_the_archive_is_refused(tmp_path: Path) -> None:
    source, poisoned = tmp_path / "model.pt2", tmp_path / "poisoned.pt2"
    save_pt2(small_models.fixed_batch(), source)
    payload = b"cos\nsystem\n(S'touch /nonexistent/ran'\ntR."
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(poisoned, "w") as new:
        for item in old.infolist():
            content = payload if item.filename.endswith(".pt") else old.read(item)
            new.writestr(item.filename, content)
    with pytest.raises(UnsafePickleError):
        load_pt2(poisoned)


def test_writers_may_share_one_program(tmp_path: Path) -> None:
    captured = small_models.tokens()
    program = export_program(captured)
    for _ in range(2):  # neither writer spoils it for the other
        save_pt2(captured, tmp_path / "model.pt2", program=program)
        export_onnx(captured, tmp_path / "model.onnx", program=program)
    args, kwargs = fresh_inputs(captured, seed=4, size=3)
    expected = tensor_leaves(captured.module(*args, **kwargs))
    assert max_relative_error(OnnxModel(tmp_path / "model.onnx")((args, kwargs)), expected) < 1e-5
    module, _ = load_pt2(tmp_path / "model.pt2")
    assert max_relative_error(tensor_leaves(module(*args, **kwargs)), expected) < 1e-6


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"\.pt2"):
        save_pt2(small_models.fixed_batch(), tmp_path / "model.bin")
