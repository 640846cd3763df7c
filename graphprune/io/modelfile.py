"""Reading a model from a file, without running code that the file may carry."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from graphprune.errors import ModelError, UnsafePickleError
from graphprune.graph.operators import unknown_operators
from graphprune.io.archive import check_program_archive, is_program_archive, operator_names
from graphprune.io.hints import Example, example_from_metadata, model_metadata
from graphprune.io.imports import working_directory_importable
from graphprune.io.pickles import load_tensors, looks_like_pickle, named_globals
from graphprune.io.program_record import BatchDims, read_record, restore
from graphprune.io.statedict import (
    build_model,
    check_weights_finite,
    fill_model,
    find_in_checkpoint,
)
from graphprune.io.text import few, one_line, reason
from graphprune.quiet import quiet_libraries

_KINDS = "a .pt2 program, or a .pt, .pth or .safetensors file"
_SAFE_WAYS = (
    "save a .pt2 (torch.export.save), or model.state_dict() to be read with --model "
    "package.module:factory; or pass --trust-pickle if you trust where it comes from"
)


@dataclass(frozen=True)
class LoadedModel:
    """A model as read from a file.

    ``example_inputs`` is ``(args, kwargs)`` as the exported program carries them, or None.
    ``batch_dims`` says which dimension of each of their tensors is the batch, for a program that
    graphprune wrote; else None. ``metadata`` holds what
    :func:`graphprune.io.hints.model_metadata` found, and under ``"file"`` the key-value pairs of
    a safetensors file.
    """

    model: nn.Module | torch.export.ExportedProgram
    example_inputs: Example | None
    source: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    batch_dims: BatchDims | None = None

    def suggested_inputs(self, batch: int = 2) -> Example | None:
        """Return the file's example inputs, else some made from the metadata, else None."""
        return self.example_inputs or example_from_metadata(self.metadata, batch)


def load_model(
    path: str | Path, *, factory: str | None = None, trust_pickle: bool = False
) -> LoadedModel:
    """Read a model from ``path``; what the file holds is told by its content, not its name.

    ``factory`` (``package.module:name``, called without arguments) makes the nn.Module that a
    state dict or a safetensors file is loaded into. ``trust_pickle`` allows
    unpickling, which runs whatever code the file carries.

    Raises :class:`UnsafePickleError` if loading needs unpickling and ``trust_pickle`` is False,
    and :class:`ModelError` for anything else that is wrong with the file, the factory or the
    weights.
    """
    file = Path(path)
    source = one_line(file)
    data = _read(file, source)
    metadata: dict[str, Any] = {}
    model: nn.Module | torch.export.ExportedProgram
    if data[:4] == b"PK\x03\x04":
        model = _from_zip(data, source, factory, trust_pickle)
    elif file.suffix == ".safetensors" or _has_safetensors_header(data):
        state, metadata["file"] = _read_safetensors(data, source)
        model = _from_state(state, source, factory)
    elif looks_like_pickle(data):
        model = _from_pickle(data, source, factory, trust_pickle)
    else:
        raise ModelError(f"{source}: {_what_else(file, data)}; expected {_KINDS}")
    check_weights_finite(model, source)
    if isinstance(model, nn.Module):
        return LoadedModel(model, None, source, metadata | model_metadata(model))
    record = _program_record(data, source)
    if record is not None:
        example, dims = restore(model, record, source)
        return LoadedModel(model, example, source, metadata, dims)
    given = model.example_inputs
    if given is None or not (given[0] or given[1]):
        return LoadedModel(model, None, source, metadata)
    return LoadedModel(model, (tuple(given[0]), dict(given[1])), source, metadata)


def _program_record(data: bytes, source: str) -> dict[str, Any] | None:
    try:
        return read_record(data)
    except (OSError, zipfile.BadZipFile, ValueError) as exc:
        raise ModelError(f"{source}: damaged file ({reason(exc)})") from exc


def _read(file: Path, source: str) -> bytes:
    try:
        if file.is_dir():
            within = file / "model.pt2"  # as compress writes it
            hint = f"did you mean {one_line(within)}?" if within.exists() else f"expected {_KINDS}"
            raise ModelError(f"{source}: is a folder; {hint}")
        data = file.read_bytes()
    except FileNotFoundError as exc:
        raise ModelError(f"{source}: no such file; expected {_KINDS}") from exc
    except OSError as exc:
        raise ModelError(f"{source}: cannot be read ({exc.strerror or reason(exc)})") from exc
    except ValueError as exc:
        raise ModelError(f"{source!r}: not a file name ({reason(exc)})") from exc
    if not data:
        raise ModelError(f"{source}: is empty; expected {_KINDS}")
    return data


def _from_zip(
    data: bytes, source: str, factory: str | None, trust_pickle: bool
) -> nn.Module | torch.export.ExportedProgram:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as exc:
        raise ModelError(
            f"{source}: damaged or cut-off file ({reason(exc)}); copy it again"
        ) from exc
    if is_program_archive(names):
        if factory is not None:
            raise ModelError(f"{source}: holds a whole exported program; leave --model out")
        return _load_program(data, source, trust_pickle)
    if any("/code/" in f"/{name}" or name.endswith("/constants.pkl") for name in names):
        raise ModelError(
            f"{source}: is a TorchScript archive, whose graph cannot be exported; save the "
            "original model with torch.export.save, or its state_dict() to be read with --model"
        )
    if not any(name.endswith("data.pkl") for name in names):
        raise ModelError(f"{source}: a zip archive, but not one of torch; expected {_KINDS}")
    return _from_pickle(data, source, factory, trust_pickle)


def _load_program(data: bytes, source: str, trust_pickle: bool) -> torch.export.ExportedProgram:
    if not trust_pickle:
        check_program_archive(data, source)
    try:
        with quiet_libraries(), working_directory_importable():
            return torch.export.load(io.BytesIO(data))
    except Exception as exc:  # torch raises many types on damaged or foreign-version files
        missing = unknown_operators(operator_names(data))
        if missing:
            raise ModelError(
                f"{source}: calls {few(missing)}, which no imported library defines; import the "
                "one that does before (on the command line: --rules package.module)"
            ) from exc
        raise ModelError(
            f"{source}: torch {torch.__version__} cannot load this .pt2 ({reason(exc)}); "
            "save it again with torch.export.save"
        ) from exc


def _from_pickle(data: bytes, source: str, factory: str | None, trust_pickle: bool) -> nn.Module:
    try:
        value = load_tensors(data)
    except Exception as refused:  # noqa: BLE001 - of many types; told apart by _unpickle
        value = _unpickle(data, source, trust_pickle, refused)
    found = find_in_checkpoint(value, source)
    if isinstance(found, nn.Module):
        if factory is not None:
            raise ModelError(f"{source}: holds a whole pickled model; leave --model out")
        return found
    return _from_state(found, source, factory)


def _unpickle(data: bytes, source: str, trust_pickle: bool, refused: Exception) -> Any:
    foreign = [name for name in named_globals(data) if not _is_tensor_global(name)]
    # Tensors alone, and yet refused: what is wrong is the file, and trust would not help.
    if _is_damaged(data) or not (foreign or trust_pickle):
        raise ModelError(
            f"{source}: damaged or cut-off file ({reason(refused, 120)}); copy or save it again"
        ) from refused
    if not trust_pickle:
        raise UnsafePickleError(
            f"{source}: is a pickle that names {few(foreign)}, and unpickling runs code from the "
            f"file; {_SAFE_WAYS}"
        ) from refused
    try:
        with quiet_libraries(), working_directory_importable():
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as exc:
        raise ModelError(
            f"{source}: the classes it was pickled from cannot be imported here ({reason(exc)}); "
            "run from the folder that holds them, or save a .pt2"
        ) from exc
    except Exception as exc:  # unpickling runs foreign code, which may raise anything
        raise ModelError(f"{source}: unpickling failed: {reason(exc)}") from exc


def _is_damaged(data: bytes) -> bool:
    """Return whether the zip around a pickle fails its own checksums (False for other files)."""
    if data[:4] != b"PK\x03\x04":
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.testzip() is not None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError):
        return True


def _is_tensor_global(name: str) -> bool:
    return name.startswith(("torch._utils.", "torch.storage.", "collections.")) or (
        name.startswith("torch.") and name.endswith("Storage")
    )


def _from_state(state: Mapping[str, Any], source: str, factory: str | None) -> nn.Module:
    if factory is None:
        raise ModelError(
            f"{source}: holds weights only ({len(state)} tensors, {few(state, 2)}); name the "
            "function that makes the model with --model package.module:factory"
        )
    model = build_model(factory)
    fill_model(model, state, source)
    return model


def _has_safetensors_header(data: bytes) -> bool:
    length = int.from_bytes(data[:8], "little")
    return 2 <= length <= len(data) - 8 and data[8:10] in (b'{"', b"{}", b"{ ")


def _read_safetensors(data: bytes, source: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        state = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
    except (safetensors.SafetensorError, ValueError, KeyError, AttributeError) as exc:
        raise ModelError(
            f"{source}: damaged or not a safetensors file ({reason(exc)}); copy it again"
        ) from exc
    if not state:
        raise ModelError(f"{source}: holds no tensors")
    return state, dict(header.get("__metadata__") or {})


def _what_else(file: Path, data: bytes) -> str:
    if file.suffix.lower() == ".onnx":
        return "is an ONNX file, and graphprune starts from the PyTorch model (it writes the ONNX)"
    known = {b"\x89PNG": "PNG image", b"\xff\xd8\xff": "JPEG image", b"%PDF": "PDF document"}
    known |= {b"\x93NUMPY": "NumPy array", b"\x89HDF": "HDF5 file", b"\x1f\x8b": "gzip archive"}
    known |= {b"GGUF": "GGUF file", b"version https://git-lfs": "Git LFS pointer, not the file"}
    for magic, name in known.items():
        if data.startswith(magic):
            return f"is a {name}"
    return f"is not a model file (it starts with {data[:8]!r})"
