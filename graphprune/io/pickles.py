"""Telling harmless pickles (tensors and plain containers) from those that can run code.

The judge is torch's own restricted unpickler (``torch.load(weights_only=True)``): it
interprets the very bytes under a list of allowed globals. What it accepts runs no foreign code.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from typing import Any

import torch


def load_tensors(data: bytes) -> Any:
    """Load a ``torch.save`` file holding tensors and plain containers only, onto the CPU.

    Raises whatever torch raises (``pickle.UnpicklingError``, ``RuntimeError``, ``EOFError`` …)
    if the bytes are damaged or would need more than the restricted unpickler allows.
    """
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def is_harmless(data: bytes) -> bool:
    """Return whether the restricted unpickler accepts these ``torch.save`` bytes."""
    try:
        load_tensors(data)
    except Exception:  # noqa: BLE001 - torch refuses with many types, and none may pass
        return False
    return True


def named_globals(data: bytes) -> tuple[str, ...]:
    """Return the ``module.name`` references in a ``torch.save`` file, without running any.

    For messages only: the answer may miss names that a hostile pickle hides.
    """
    names: dict[str, None] = {}
    for stream in _streams(data):
        recent: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    names[str(argument).replace(" ", ".")] = None
                elif opcode.name == "STACK_GLOBAL" and len(recent) >= 2:
                    names[".".join(recent[-2:])] = None
                elif isinstance(argument, str):
                    recent.append(argument)
        except (ValueError, UnicodeDecodeError, IndexError):
            continue
    return tuple(names)


def looks_like_pickle(data: bytes) -> bool:
    """Return whether the bytes start as a pickle of protocol 2 or later, or a legacy one, do."""
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    try:
        for _count, (opcode, _, _) in enumerate(pickletools.genops(data[:4096])):
            if opcode.name in ("GLOBAL", "STOP") and _count > 0:
                return True
    except (ValueError, UnicodeDecodeError, IndexError):
        return False
    return False


def _streams(data: bytes) -> list[bytes]:
    """Return the pickle streams of a zip-based or legacy ``torch.save`` file."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [
                archive.read(item) for item in archive.infolist() if item.filename[-4:] == ".pkl"
            ]
    streams: list[bytes] = []
    rest = data
    # A legacy file is several pickles in a row: magic number, version, system, object, keys.
    while rest and len(streams) < 8:
        streams.append(rest)
        try:
            end = next(pos for op, _, pos in pickletools.genops(rest) if op.name == "STOP")
        except (ValueError, UnicodeDecodeError, IndexError, StopIteration):
            break
        rest = rest[(end or 0) + 1 :]
    return streams
