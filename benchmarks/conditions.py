"""The conditions under which a figure was measured, and the same start for every script."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import platform
from collections.abc import Iterable
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parent / "results"


def set_up(seed: int, threads: int) -> None:
    """Fix torch's seed and number of threads."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def conditions(seed: int) -> dict[str, object]:
    """Seed, threads, versions, processor and time, to be stored with every result."""
    return {
        "seed": seed,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "graphprune": _version("graphprune"),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def append(path: Path, record: dict[str, object]) -> None:
    """Add ``record`` as one line of JSON to ``path``, made where it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[dict[str, object]]:
    """The records of a file of JSON lines, in order; none where there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def markdown_table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
