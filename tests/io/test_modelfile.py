"""Reading model files: every kind, every way of being wrong, and nothing unpickled unasked."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import error_lines
import pytest
import safetensors.torch
import torch
from torch import nn

from graphprune.errors import ModelError, UnsafePickleError
from graphprune.io import load_model
from graphprune.io.hints import example_from_metadata, model_metadata
from graphprune.io.pickles import is_harmless, named_globals

FACTORIES = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))

def make():
    return Net()

def other():
    return torch.nn.Linear(2, 2)

def needs_argument(width):
    return Net()

def fails():
    raise RuntimeError("first line\\nsecond line")

def number():
    return 3

constant = 3
"""


class MakesFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "factories_of_test.py").write_text(FACTORIES)
    (tmp_path / "broken_of_test.py").write_text("import no_such_package_at_all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "factories_of_test", raising=False)
    return tmp_path


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


MAKE = "factories_of_test:make"

STATE_FILES: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "plain.pt": torch.save,
    "legacy.pth": lambda s, p: torch.save(s, p, _use_new_zipfile_serialization=False),
    "checkpoint.pt": lambda s, p: torch.save({"state_dict": s, "epoch": 3}, p),
    "model_key.pt": lambda s, p: torch.save({"model": s, "optimizer": {"lr": 0.1}}, p),
    "only_one.pt": lambda s, p: torch.save({"teacher": s, "epoch": 3}, p),
    "parallel.pt": lambda s, p: torch.save({f"module.{k}": v for k, v in s.items()}, p),
    "compiled.pt": lambda s, p: torch.save({f"_orig_mod.{k}": v for k, v in s.items()}, p),
    "plain.safetensors": lambda s, p: safetensors.torch.save_file(s, p, {"format": "pt"}),
    "renamed.bin": safetensors.torch.save_file,
    "both.pt": lambda s, p: torch.save({f"_orig_mod.module.{k}": v for k, v in s.items()}, p),
    "lightning.ckpt": lambda s, p: torch.save(
        {"state_dict": {f"net.{k}": v for k, v in s.items()}}, p
    ),
    "compiled_parts.pt": lambda s, p: torch.save(
        {k.replace(".", "._orig_mod.", 1): v for k, v in s.items()}, p
    ),
}


@pytest.mark.parametrize("name", STATE_FILES)
def test_state_dicts_fill_the_factorys_model(name: str, folder: Path) -> None:
    state = net().state_dict()
    STATE_FILES[name](state, folder / name)
    loaded = load_model(folder / name, factory=MAKE)
    assert isinstance(loaded.model, nn.Module)
    assert type(loaded.model).__name__ == "Net"
    assert loaded.example_inputs is None
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, state[key])
    if name == "plain.safetensors":
        assert loaded.metadata["file"] == {"format": "pt"}


def test_class_is_a_factory(folder: Path) -> None:
    torch.save(net().state_dict(), folder / "a.pt")
    assert isinstance(load_model("a.pt", factory="factories_of_test:Net").model, nn.Module)


BAD_FACTORIES = {
    "factories_of_test": "package.module:name",
    "no_such_module_here:make": "no module named 'no_such_module_here'",
    "broken_of_test:make": "no_such_package_at_all",
    "factories_of_test:absent": "no attribute 'absent'",
    "factories_of_test:constant": "cannot be called",
    "factories_of_test:needs_argument": "without arguments",
    "factories_of_test:fails": "RuntimeError: first line second line",
    "factories_of_test:number": "returned a int",
    "factories_of_test:other": "missing: weight, bias",
}


@pytest.mark.parametrize("factory", BAD_FACTORIES)
def test_bad_factory(factory: str, folder: Path) -> None:
    torch.save(net().state_dict(), folder / "a.pt")
    check_error(lambda: load_model("a.pt", factory=factory), BAD_FACTORIES[factory])


def write(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def save(value: object, **options: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path, **options)


def cut(value: object, keep: float = 0.5, **options: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        torch.save(value, path, **options)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return make


def cut_safetensors(path: Path) -> None:
    safetensors.torch.save_file(net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-10])


def plain_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")


def cut_program(path: Path) -> None:
    whole = path.with_name("whole.pt2")
    torch.export.save(torch.export.export(net().eval(), (torch.randn(2, 4),)), whole)
    path.write_bytes(whole.read_bytes()[:2000])


def torchscript(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net().eval(), torch.randn(2, 4)), path)


def with_value(name: str, value: float) -> dict[str, torch.Tensor]:
    state = net().state_dict()
    state[name] = state[name].clone()
    state[name].view(-1)[0] = value
    return state


def without(name: str, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    return {k: v for k, v in net().state_dict().items() if k != name} | more


BAD_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "absent.pt": (lambda _: None, "no such file"),
    "folder.pt": (lambda path: path.mkdir(), "is a folder"),
    "empty.pt": (write(b""), "is empty"),
    "picture.pt": (write(b"\x89PNG\r\n\x1a\n" + bytes(100)), "PNG image"),
    "text.pt": (write(b"hello, I am not a model\n"), "not a model file"),
    "zeros.pt": (write(bytes(1000)), "not a model file"),
    "one_byte.pt": (write(b"\x80"), "not a model file"),
    "pointer.pt": (write(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    "net.onnx": (write(b"\x08\x07\x12\x07pytorch"), "ONNX"),
    "zip.pt": (plain_zip, "not one of torch"),
    "script.pt": (torchscript, "TorchScript"),
    "cut.pt": (cut(net().state_dict()), "damaged or cut-off"),
    "cut_legacy.pt": (
        cut(net().state_dict(), 0.9, _use_new_zipfile_serialization=False),
        "damaged or cut-off",
    ),
    "cut_early.pt": (
        cut(net().state_dict(), 0.05, _use_new_zipfile_serialization=False),
        "damaged or cut-off",
    ),
    "cut.pt2": (cut_program, "damaged or cut-off"),
    "cut.safetensors": (cut_safetensors, "damaged"),
    "text.safetensors": (write(b"hello, I am not a model\n"), "damaged or not a safetensors"),
    "empty_dict.pt": (save({}), "no state dict"),
    "numbers.pt": (save({"a": 1, "b": 2}), "no state dict"),
    "tensor.pt": (save(torch.zeros(3)), "holds a Tensor"),
    "two.pt": (
        save({"generator": net().state_dict(), "critic": net().state_dict()}),
        "several state dicts",
    ),
    "missing.pt": (save(without("0.bias")), "missing: 0.bias"),
    "unexpected.pt": (save(without("", extra=torch.zeros(1))), "unexpected: extra"),
    "shape.pt": (save(without("0.bias") | {"0.bias": torch.zeros(5)}), "[5] instead of [3]"),
    "nan.pt": (save(with_value("0.weight", float("nan"))), "parameter 0.weight holds 1 of 12"),
    "inf.pt": (save(with_value("0.bias", float("-inf"))), "parameter 0.bias"),
    "nan_buffer.pt": (save(with_value("1.running_var", float("nan"))), "buffer 1.running_var"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(name: str, folder: Path) -> None:
    make, message = BAD_FILES[name]
    make(folder / name)
    check_error(lambda: load_model(folder / name, factory=MAKE), message)


def test_state_dict_needs_a_factory(folder: Path) -> None:
    torch.save(net().state_dict(), folder / "a.pt")
    check_error(lambda: load_model("a.pt"), "--model package.module:factory")


def test_whole_program_needs_no_factory(folder: Path) -> None:
    torch.export.save(torch.export.export(net().eval(), (torch.randn(2, 4),)), "a.pt2")
    check_error(lambda: load_model("a.pt2", factory=MAKE), "leave --model out")


def test_program_with_nan_is_refused(folder: Path) -> None:
    model = net().eval()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    torch.export.save(torch.export.export(model, (torch.randn(2, 4),)), "a.pt2")
    check_error(lambda: load_model("a.pt2"), "parameter 0.weight")


def test_program_is_known_by_its_content(folder: Path) -> None:
    torch.export.save(torch.export.export(net().eval(), (torch.randn(2, 4),)), "a.pt2")
    os.rename("a.pt2", "a.pt")
    assert isinstance(load_model("a.pt").model, torch.export.ExportedProgram)


def test_infinite_buffer_is_allowed(folder: Path) -> None:
    torch.save(with_value("1.running_mean", float("-inf")), "a.pt")
    assert isinstance(load_model("a.pt", factory=MAKE).model, nn.Module)


FORMS: dict[str, Callable[[object, Path], object]] = {
    "zip": torch.save,
    "legacy": lambda v, p: torch.save(v, p, _use_new_zipfile_serialization=False),
    "bare pickle": lambda v, p: p.write_bytes(pickle.dumps(v)),
    "bare pickle 0": lambda v, p: p.write_bytes(pickle.dumps(v, protocol=0)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nested", [False, True])
def test_pickle_is_refused_and_does_not_run(form: str, nested: bool, folder: Path) -> None:
    made = folder / "made"
    evil = MakesFolder(made)
    FORMS[form]({"state_dict": evil} if nested else evil, folder / "bad.pt")
    with pytest.raises(UnsafePickleError) as caught:
        load_model("bad.pt", factory=MAKE)
    message = str(caught.value)
    assert "mkdir" in message
    assert "--trust-pickle" in message
    assert ".pt2" in message
    assert "\n" not in message
    assert not made.exists()
    # The same file does run once it is trusted, so the check above means something.
    if "bare" not in form:
        with pytest.raises(ModelError):
            load_model("bad.pt", trust_pickle=True)
        assert made.exists()


def test_pickled_module_needs_trust(folder: Path) -> None:
    model = net()
    torch.save(model, "whole.pt")
    with pytest.raises(UnsafePickleError, match="Sequential"):
        load_model("whole.pt")
    loaded = load_model("whole.pt", trust_pickle=True).model
    assert isinstance(loaded, nn.Sequential)
    assert torch.equal(loaded[0].weight, model[0].weight)


class Prints:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("printed by the file",)


def test_what_a_trusted_file_prints_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": net(), "note": Prints()}, "whole.pt")
    load_model("whole.pt", trust_pickle=True)
    assert "printed by the file" in capsys.readouterr().out


def test_pickled_module_in_a_checkpoint(folder: Path) -> None:
    torch.save({"model": net(), "epoch": 1}, "whole.pt")
    assert isinstance(load_model("whole.pt", trust_pickle=True).model, nn.Sequential)


def test_pickled_class_that_is_not_there(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        torch.save(importlib.import_module("factories_of_test").make(), "whole.pt")
    assert isinstance(load_model("whole.pt", trust_pickle=True).model, nn.Module)
    (folder / "elsewhere").mkdir()
    os.chdir(folder / "elsewhere")
    sys.modules.pop("factories_of_test")
    check_error(lambda: load_model("../whole.pt", trust_pickle=True), "cannot be imported here")


def test_globals_of_all_protocols() -> None:
    for protocol in range(6):
        data = pickle.dumps(MakesFolder(Path("x")), protocol=protocol)
        assert any(name.endswith(".mkdir") for name in named_globals(data)), protocol
        assert not is_harmless(data)


def test_metadata_of_known_kinds() -> None:
    timm_like = SimpleNamespace(
        default_cfg={"input_size": (3, 32, 48), "mean": (0.5, 0.5, 0.5), "std": (1, 1, 1)}
    )
    found = model_metadata(timm_like)
    assert found == {"input_size": (3, 32, 48), "mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)}
    example = example_from_metadata(found, batch=2)
    assert example is not None
    assert example[0][0].shape == (2, 3, 32, 48)

    ids = torch.ones(3, 5, dtype=torch.int64)
    text_like = SimpleNamespace(main_input_name="input_ids", dummy_inputs={"input_ids": ids})
    example = example_from_metadata(model_metadata(text_like))
    assert example is not None
    assert torch.equal(example[1]["input_ids"], ids)

    vision_like = SimpleNamespace(
        main_input_name="pixel_values",
        dummy_inputs={"input_ids": ids},
        config=SimpleNamespace(image_size=16, num_channels=3),
    )
    example = example_from_metadata(model_metadata(vision_like))
    assert example is not None
    assert example[1]["pixel_values"].shape == (2, 3, 16, 16)

    assert model_metadata(net()) == {}
    assert example_from_metadata({}) is None


def check_error(action: Callable[[], object], message: str) -> None:
    error = error_lines.check_error(action, message, ModelError)
    assert error.exit_code == 2
