"""Looking inside a ``.pt2`` before torch.export.load does, for anything that would run code.

``torch.export.load`` (torch/export/pt2_archive/_package.py and torch/_export/serde/serialize.py)
unpickles without restriction: payloads that a ``*_config.json`` marks ``use_pickle``; the sample
inputs and, in older files, the weights and constants, whenever restricted loading of them fails;
custom and opaque objects. It loads shared libraries under ``data/aotinductor``. It
also evaluates text of the program (see :mod:`graphprune.io.program_text`).
"""

from __future__ import annotations

import io
import json
import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from graphprune.errors import ModelError, UnsafePickleError
from graphprune.io.pickles import is_harmless, named_globals
from graphprune.io.program_text import unsafe_program_text
from graphprune.io.text import few, one_line, reason

_ADVICE = (
    "save it again without such parts, or pass --trust-pickle if you trust where it comes from"
)
_OLD_ENTRY = re.compile(r"version|serialized_\w+\.(json|pt)|extra_files/.*")
_OBJECTS = ("custom_obj", "opaque_obj")
_PAYLOAD = re.compile(r"(weight|tensor|constant|custom_obj|opaque_obj)_\d+")


def is_program_archive(names: list[str]) -> bool:
    """Return whether zip entries of these names make a ``torch.export`` file, new or old."""
    return "serialized_exported_program.json" in names or any(
        re.search(r"(^|/)models/[^/]+\.json$", name) for name in names
    )


def operator_names(data: bytes) -> list[str]:
    """Operators that a ``.pt2`` (its bytes) calls, as ``torch.ops.library.operator.overload``."""
    found: set[str] = set()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if is_program_archive([name]):
                text = archive.read(name).decode("utf-8", errors="replace")
                found.update(re.findall(r'"target": *"(torch\.ops\.\w+\.\w+(?:\.\w+)?)"', text))
    return sorted(found)


def check_program_archive(data: bytes, source: str) -> None:
    """Refuse a ``.pt2`` (its bytes) that would run code on loading.

    Raises :class:`UnsafePickleError` naming the part, and :class:`ModelError` for a damaged file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _entries(archive, data, source)
            for part in _unsafe_parts(archive, entries, source):
                raise UnsafePickleError(
                    f"{source}: loading would run code from the file: {one_line(part)}; {_ADVICE}"
                )
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as exc:
        raise ModelError(f"{source}: damaged or cut-off .pt2 file ({reason(exc)})") from exc


def _entries(archive: zipfile.ZipFile, data: bytes, source: str) -> dict[str, str]:
    """Return record name (without the archive's root folder) to zip entry name."""
    names = [item.filename for item in archive.infolist()]
    if len(set(names)) != len(names):
        # Two readers may pick different ones, so a scan would prove nothing.
        raise ModelError(f"{source}: the archive has two entries of one name; save it again")
    if "serialized_exported_program.json" in names:
        strange = [name for name in names if not _OLD_ENTRY.fullmatch(name)]
        if strange:
            # torch would first try to read such a file in the new layout.
            raise ModelError(f"{source}: unexpected entries in an old .pt2: {few(strange)}")
        return {name: name for name in names}
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    records = sorted(reader.get_all_records())
    stripped = {name.partition("/")[2]: name for name in names if not name.endswith("/")}
    if records != sorted(stripped) or len(stripped) != len(names):
        raise ModelError(f"{source}: the archive's directory is inconsistent; save it again")
    return stripped


def _unsafe_parts(archive: zipfile.ZipFile, entries: dict[str, str], source: str) -> Iterator[str]:
    for record, entry in entries.items():
        base = posixpath.basename(record)
        if record.startswith(("extra/", "extra_files/")):
            continue
        if record.startswith("data/aotinductor/"):
            yield f"{record} is compiled code"
        elif base.startswith(_OBJECTS):
            yield f"{record} is a pickled object"
        elif record.startswith("models/") or base == "serialized_exported_program.json":
            found = unsafe_program_text(_json(archive.read(entry), record, source))
            if found is not None:
                yield f"{record} holds {found}"
        elif base.endswith("_config.json"):
            config = _json(archive.read(entry), record, source)
            for payload in _pickled_payloads(config, record, entries, source):
                yield from _unsafe_pickle(payload, archive.read(entries[payload]))
        elif base.endswith((".pt", ".pkl", ".pth", ".json")):
            # Older files keep torch.save bytes in serialized_state_dict.json too.
            yield from _unsafe_pickle(record, archive.read(entry))


def _pickled_payloads(
    config: Any, record: str, entries: dict[str, str], source: str
) -> Iterator[str]:
    """Yield the records that a payload configuration has unpickled as tensors.

    Pickled objects are not among them; they are found by the names of their records.
    """
    folder = posixpath.dirname(record)
    for path, use_pickle in _payloads(config):
        payload = f"{folder}/{path}"
        if not _PAYLOAD.fullmatch(path):
            raise UnsafePickleError(
                f"{source}: {record} names the unusual payload {one_line(path)!r}; {_ADVICE}"
            )
        if payload not in entries:
            raise ModelError(f"{source}: {payload} is missing; copy the file again")
        if use_pickle is not False and not path.startswith(_OBJECTS):
            yield payload


def _unsafe_pickle(record: str, content: bytes) -> Iterator[str]:
    if content and not is_harmless(content):
        names = named_globals(content)
        yield f"{record} is a pickle" + (f" that names {few(names)}" if names else "")


def _json(content: bytes, record: str, source: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"{source}: {record} is not valid JSON ({reason(exc)})") from exc


def _payloads(config: Any) -> Iterator[tuple[str, object]]:
    """Yield (path name, use_pickle) for every payload at any depth of a payload configuration."""
    if isinstance(config, dict):
        if "path_name" in config:
            yield str(config["path_name"]), config.get("use_pickle", True)
        for value in config.values():
            yield from _payloads(value)
    elif isinstance(config, list):
        for value in config:
            yield from _payloads(value)
