"""What is recorded of one model, and how a record is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.conditions import read

Record = dict[str, Any]
"""One line of results; its fields are set in ``coverage_worker``, and ``docs/coverage.md`` says
what they mean."""

ENOUGH = 0.40
PLENTY = 0.60
STATUSES = ("pruned", "left", "refused", "timeout", "crashed", "wrong")


def judge(record: Record) -> str:
    """Status of a record.

    - ``wrong``: a model came out that is not what it should be, and no error said so;
    - ``pruned``: proved, output shapes unchanged, at least 40 % of the parameters removed that
      the model's outputs and vocabulary leave to remove;
    - ``left``: proved and shapes unchanged, but less was removed; or nothing may be removed;
    - ``refused``: ended in one of the program's own one-line errors;
    - ``crashed``: ended in any other exception, or without a word;
    - ``timeout``: not done in time.
    """
    if record.get("wrong"):
        return "wrong"
    if record.get("removed") is not None and record.get("checked"):
        return "pruned" if record["removed"] >= ENOUGH * (1 - interface(record)) else "left"
    kind = str(record.get("error_kind", ""))
    if kind == "timeout":
        return "timeout"
    if kind == "TargetError":  # there was nothing to remove, and the program said so
        return "left"
    return "refused" if kind.endswith("Error") and record.get("expected") else "crashed"


def interface(record: Record) -> float:
    """Share of the parameters that would have gone if the model's interface were not as it is.

    Hidden states that are outputs keep their width, and tables of tokens and positions their rows.
    """
    held = ("output of the model", "vocabulary of")
    gaps = record.get("gaps") or []
    return float(sum(gap["share"] for gap in gaps if str(gap["reason"]).startswith(held)))


def latest(path: Path) -> dict[tuple[str, str], Record]:
    """The last record of each model in a file of results, by (zoo, name), in file order."""
    found: dict[tuple[str, str], Record] = {}
    for record in read(path):
        found[(str(record["zoo"]), str(record["name"]))] = record
    return found


def is_complete(record: Record, *, quick: bool) -> bool:
    """Whether a model need not run again; after a quick run the delivery is still to be tried."""
    return quick or not record.get("quick", False)
