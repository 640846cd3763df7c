"""What a .pt2 could hide is refused before anything of it runs.

The attacks are real: most are also shown to run when torch.export.load gets the same file.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._export.serde.serialize import serialize

from graphprune.errors import ModelError, UnsafePickleError
from graphprune.io import load_model
from graphprune.io.program_text import unsafe_program_text

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
SAMPLES = "data/sample_inputs/model.pt"

Edit = Callable[[bytes], bytes]


class MakesFile:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@dataclass(frozen=True)
class Attack:
    """Edits of the records of a good .pt2, and records to add; given the path to make."""

    edits: Callable[[Path], dict[str, Edit]] = lambda _: {}
    adds: Callable[[Path], dict[str, bytes]] = lambda _: {}
    torch_runs_it: bool = True


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).relu()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.pt2"
    torch.export.save(program(), path)
    return path


@pytest.fixture
def torch_logs_nothing() -> Iterator[None]:
    # One of torch's own log calls has the wrong number of arguments, an error under pytest.
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def program() -> torch.export.ExportedProgram:
    batch = torch.export.Dim.DYNAMIC
    return torch.export.export(
        Net().eval(), (torch.randn(2, 4),), dynamic_shapes=({0: batch},), strict=False
    )


def saved(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def rewrite(source: Path, target: Path, edits: dict[str, Edit], adds: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, edits.get(name.partition("/")[2], lambda data: data)(content))
        for record, content in adds.items():
            new.writestr(f"{root}/{record}", content)
    return target


def in_json(change: Callable[[Any], object]) -> Edit:
    def edit(content: bytes) -> bytes:
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return edit


def call(path: Path) -> str:
    return f"__import__('os').mkdir('{path}')"


def payload(name: str) -> dict[str, Any]:
    return {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}


def first_node(document: Any) -> Any:
    return document["graph_module"]["graph"]["nodes"][0]


def signature(document: Any) -> Any:
    return document["graph_module"]["module_call_graph"][0]["signature"]


def set_size(path: Path) -> Callable[[Any], object]:
    def change(document: Any) -> None:
        sizes = document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = call(path)

    return change


ATTACKS = {
    "sample inputs": Attack(lambda p: {SAMPLES: lambda _: saved(((MakesFile(p),), {}))}),
    "sample inputs, legacy form": Attack(
        lambda p: {
            SAMPLES: lambda _: saved(((MakesFile(p),), {}), _use_new_zipfile_serialization=False)
        }
    ),
    "payload marked use_pickle": Attack(
        lambda p: {
            WEIGHTS: in_json(lambda d: d["config"]["linear.bias"].update(use_pickle=True)),
            "data/weights/weight_1": lambda _: saved(MakesFile(p)),
        }
    ),
    "constant marked use_pickle": Attack(
        lambda p: {CONSTANTS: in_json(lambda d: d["config"].update(c=payload("tensor_0")))},
        lambda p: {"data/constants/tensor_0": saved(MakesFile(p))},
    ),
    "payload outside its folder": Attack(
        lambda p: {CONSTANTS: in_json(lambda d: d["config"].update(c=payload("tensor_0/../x")))},
        lambda p: {"data/constants/tensor_0/../x": saved(MakesFile(p))},
    ),
    "opaque object": Attack(
        lambda p: {CONSTANTS: in_json(lambda d: d["config"].update(c=payload("opaque_obj_0")))},
        lambda p: {"data/constants/opaque_obj_0": pickle.dumps(MakesFile(p))},
        # torch before 2.13 knows no opaque objects.
        torch_runs_it=torch.torch_version.TorchVersion(torch.__version__) >= (2, 13),
    ),
    "legacy weights": Attack(adds=lambda p: {"data/weights/model.pt": saved(MakesFile(p))}),
    "legacy constants": Attack(adds=lambda p: {"data/constants/model.pt": saved(MakesFile(p))}),
    "compiled code": Attack(
        adds=lambda _: {"data/aotinductor/model/a.so": b"\x7fELF"}, torch_runs_it=False
    ),
    "size": Attack(lambda p: {MODEL: in_json(set_size(p))}),
    "guard": Attack(lambda p: {MODEL: in_json(lambda d: d.update(guards_code=[call(p)]))}),
    "operator": Attack(
        lambda p: {MODEL: in_json(lambda d: first_node(d).update(target="torch.os.mkdir"))},
        torch_runs_it=False,
    ),
    "argument name": Attack(
        lambda p: {
            MODEL: in_json(lambda d: signature(d).update(forward_arg_names=[f"x={call(p)}"]))
        },
        torch_runs_it=False,
    ),
    "input structure": Attack(
        lambda p: {
            MODEL: in_json(
                lambda d: signature(d).update(
                    in_spec=json.dumps(
                        [1, {"type": "builtins.dict", "context": json.dumps([call(p)])}]
                    )
                )
            )
        },
        torch_runs_it=False,
    ),
}


def attack_file(name: str, good: Path, folder: Path) -> tuple[Path, Path]:
    made = folder / "made"
    attack = ATTACKS[name]
    return rewrite(good, folder / "bad.pt2", attack.edits(made), attack.adds(made)), made


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused_and_does_not_run(name: str, good: Path, tmp_path: Path) -> None:
    file, made = attack_file(name, good, tmp_path)
    with pytest.raises(UnsafePickleError) as caught:
        load_model(file)
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    assert "--trust-pickle" in message
    assert not made.exists()


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.torch_runs_it])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("torch_logs_nothing")
def test_attack_is_real(name: str, good: Path, tmp_path: Path) -> None:
    file, made = attack_file(name, good, tmp_path)
    # What torch makes of the file afterwards does not matter.
    with contextlib.suppress(Exception):
        torch.export.load(file).module()(torch.randn(2, 4))
    assert made.exists()


def test_trusted_file_is_loaded(good: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    guard = in_json(lambda d: d.update(guards_code=[f"not {call(made)}"]))
    file = rewrite(good, tmp_path / "trusted.pt2", {MODEL: guard}, {})
    model = load_model(file, trust_pickle=True).model
    assert isinstance(model, torch.export.ExportedProgram)
    model.module()(torch.randn(2, 4))
    assert made.exists()


def test_good_file_gives_model_and_inputs(good: Path) -> None:
    loaded = load_model(good)
    assert isinstance(loaded.model, torch.export.ExportedProgram)
    assert loaded.example_inputs is not None
    args, kwargs = loaded.example_inputs
    assert args[0].shape == (2, 4)
    assert kwargs == {}
    assert loaded.model.module()(args[0]).shape == (2, 3)


def test_harmless_pickled_payload_is_loaded(good: Path, tmp_path: Path) -> None:
    bias = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    edits = {
        WEIGHTS: in_json(lambda d: d["config"]["linear.bias"].update(use_pickle=True)),
        "data/weights/weight_1": lambda _: saved(bias),
    }
    loaded = load_model(rewrite(good, tmp_path / "harmless.pt2", edits, {}))
    assert isinstance(loaded.model, torch.export.ExportedProgram)
    assert torch.equal(loaded.model.state_dict["linear.bias"], bias)


def test_extra_files_may_hold_anything(good: Path, tmp_path: Path) -> None:
    file = rewrite(good, tmp_path / "extra.pt2", {}, {"extra/notes.json": b"__import__('os')"})
    assert isinstance(load_model(file).model, torch.export.ExportedProgram)


def old_archive(path: Path, example_inputs: bytes | None = None) -> Path:
    """Write the layout of torch.export.save up to torch 2.7."""
    from torch._export.serde.schema import SCHEMA_VERSION

    artifact = serialize(program())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", artifact.exported_program)
        archive.writestr("serialized_state_dict.pt", artifact.state_dict)
        archive.writestr("serialized_constants.pt", artifact.constants)
        archive.writestr(
            "serialized_example_inputs.pt",
            artifact.example_inputs if example_inputs is None else example_inputs,
        )
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
    return path


def test_old_layout_is_loaded(tmp_path: Path) -> None:
    loaded = load_model(old_archive(tmp_path / "old.pt2"))
    assert isinstance(loaded.model, torch.export.ExportedProgram)
    assert loaded.example_inputs is not None


@pytest.mark.usefixtures("torch_logs_nothing")
def test_old_layout_is_scanned(tmp_path: Path) -> None:
    made = tmp_path / "made"
    file = old_archive(tmp_path / "old.pt2", saved(((MakesFile(made),), {})))
    with pytest.raises(UnsafePickleError, match="serialized_example_inputs"):
        load_model(file)
    assert not made.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.load(file)
    assert made.exists()


def test_old_and_new_layout_in_one_file_is_refused(good: Path, tmp_path: Path) -> None:
    file = tmp_path / "both.pt2"
    file.write_bytes(good.read_bytes())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(ModelError, match="unexpected entries"):
        load_model(file)


def test_two_entries_of_one_name_are_refused(good: Path, tmp_path: Path) -> None:
    file = tmp_path / "twice.pt2"
    file.write_bytes(good.read_bytes())
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(archive.namelist()[0], b"other")
    with pytest.raises(ModelError, match="two entries"):
        load_model(file)


def test_missing_payload_is_damage(good: Path, tmp_path: Path) -> None:
    rename = in_json(lambda d: d["config"]["linear.bias"].update(path_name="weight_99"))
    with pytest.raises(ModelError, match="weight_99 is missing"):
        load_model(rewrite(good, tmp_path / "missing.pt2", {WEIGHTS: rename}, {}))


@pytest.mark.parametrize(
    "document",
    [
        {"expr_str": "Symbol('s0', positive=True, integer=True)"},
        {"expr_str": "FloorDiv(Symbol('s0'), 2) + floor(s1/2) - Max(1, -3)*s2**2"},
        {"guards_code": ["L['x'].size()[0] >= 2", "not math.isnan(L['y']) and s0 != 4"]},
        {"guards_code": ["(8*max(1, L['x'].size()[0] // 2)) == min(s0, 8)"]},
        {"target": "torch.ops.aten.__and__.Tensor"},
        {"target": "torch.ops.higher_order.cond"},
        {"target": "_operator.getitem"},
        {"target": "torch.sym_max"},
        {"as_string": "anything('at all')"},
        {"metadata": {"stack_trace": "File \"a.py\"\n  f('x')"}},
        {"in_spec": json.dumps([1, {"type": "builtins.dict", "context": '["a b", "c.d/0"]'}])},
    ],
)
def test_ordinary_text_is_allowed(document: object) -> None:
    assert unsafe_program_text(document) is None


@pytest.mark.parametrize(
    "document",
    [
        {"expr_str": "().__class__"},
        {"expr_str": "Symbol(\"x')+f('\")"},
        {"expr_str": "exec(Symbol('x'))"},
        {"expr_str": "[x for x in y]"},
        {"expr_str": "lambda: 0"},
        {"expr_str": "s0 #"},
        {"guards_code": ["x.__class__"]},
        {"guards_code": ["L['\"+f()+\"'] == 1"]},
        {"guards_code": ["True\n  or False"]},
        {"target": "torch.ops.load_library.a.b"},
        {"target": "torch.ops.aten.__class__.mro"},
        {"target": "_operator.methodcaller"},
        {"target": "torch.serialization.load"},
        {"a('b')": 1},
        {"name": 'a"b'},
        {"in_spec": json.dumps([1, {"type": "builtins.dict", "context": '["f()"]'}])},
        {"in_spec": json.dumps([1, {"context": {"default_factory_module": "os"}}])},
    ],
)
def test_text_that_could_run_is_found(document: object) -> None:
    assert unsafe_program_text(document) is not None
