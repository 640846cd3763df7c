"""The output folder appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from graphprune.errors import UsageError
from graphprune.io.text import few, reason

ARTEFACTS = frozenset({"model.onnx", "model.onnx.data", "model.pt2", "plan.json", "report.json"})
"""The files that compress writes for one graph."""

PARTS = "parts"
"""Folder of a model compressed in parts: a folder for each part, with the files of one graph."""

WEIGHTS = "model.safetensors"
"""Weights of a whole model that was compressed in parts."""


@contextlib.contextmanager
def output_folder(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``target`` that becomes ``target`` when the block ends well.

    On any exception, KeyboardInterrupt included, the temporary folder is removed and ``target``
    is left as it was.

    Args:
        target: the folder to be; its parents are created.
        overwrite: replace ``target`` if it holds an earlier output of graphprune and nothing else.

    Yields:
        The temporary folder, empty.

    Raises:
        UsageError: ``target`` is a file, holds something that may not be replaced, cannot be
            written, or is being written by another run.
    """
    place = check_output(target, overwrite=overwrite)
    partial = place.with_name(f".{place.name}.graphprune-partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {place.parent}: {error.strerror or error}") from error
    with _lock(place):
        try:
            # Left by a run that was killed; no other can be using it while the lock is held.
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        except OSError as error:
            raise UsageError(
                f"cannot write beside {place}: {error.strerror or error}; give another folder"
            ) from error
        try:
            yield partial
            _check_replaceable(place, overwrite)
            _move(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_output(target: str | Path, *, overwrite: bool = False) -> Path:
    """Refuse an output folder early, before the long work begins; nothing is created.

    Returns:
        The absolute path.

    Raises:
        UsageError: as :func:`output_folder`; a run in progress is found by that alone.
    """
    place = _resolved(target)
    _check_replaceable(place, overwrite)
    above = next(parent for parent in place.parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"{above} cannot be written to; give another output folder")
    return place


def _resolved(target: str | Path) -> Path:
    try:
        place = Path(target).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{str(target)!r} cannot be an output folder: {reason(error)}") from error
    if place == Path.cwd() or not place.name:
        raise UsageError(f"{place} cannot be replaced while it is in use; name a folder inside it")
    return place


def _check_replaceable(place: Path, overwrite: bool) -> None:
    try:
        if not place.exists():
            return
        if not place.is_dir():
            raise UsageError(f"{place} is a file; give a folder for the output")
        names = sorted(item.name for item in place.iterdir())
        foreign = sorted(filter(_is_foreign, _files(place)))
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror or error}") from error
    if not names:
        return
    if foreign or not _is_output(place):
        what = few(foreign or names)
        raise UsageError(f"{place} is not empty (it holds {what}); give a new or empty folder")
    if not overwrite:
        raise UsageError(
            f"{place} holds an earlier output; give another folder, or --overwrite to replace it"
        )


def _files(place: Path) -> list[str]:
    """Everything within that is no folder, and empty folders, by path relative to ``place``."""
    found = []
    for path in place.rglob("*"):
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
            found.append(path.relative_to(place).as_posix())
    return found


def _is_foreign(name: str) -> bool:
    """Whether compress never writes a file of this path; a folder with one is never replaced."""
    match name.split("/"):
        case [file]:
            return file not in ARTEFACTS | {WEIGHTS}
        case [folder, _, file]:
            return folder != PARTS or file not in ARTEFACTS
        case _:
            return True


def _is_output(place: Path) -> bool:
    """Whether the folder's report.json was written by graphprune."""
    try:
        report = json.loads((place / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(report, dict) and report.get("kind") == "graphprune-report"


def _move(partial: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.graphprune-old")
    try:
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            os.replace(place, old)
        try:
            os.replace(partial, place)
        except BaseException:
            if old.exists():
                os.replace(old, place)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror or error}") from error
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _lock(place: Path) -> Iterator[None]:
    """Hold ``.<name>.graphprune-lock`` beside ``place``; a killed run's is freed by the system."""
    path = place.with_name(f".{place.name}.graphprune-lock")
    try:
        handle = path.open("a")
    except OSError as error:
        raise UsageError(
            f"cannot write beside {place}: {error.strerror or error}; give another folder"
        ) from error
    with handle:
        # The other run removes the file when it is done, so what was locked may be gone by now.
        if not _try_lock(handle) or not _is_still(handle, path):
            raise UsageError(
                f"{place} is being written by another run; wait for it, or give another folder"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _try_lock(handle: IO[str]) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: an open file cannot be removed or renamed there
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_still(handle: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except OSError:
        return False
