"""The report of a run: what was asked, what came out, and on which evidence."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphprune.errors import UsageError
from graphprune.exporters.trials import TrialRow, trials_table
from graphprune.io.text import reason
from graphprune.proof.certify import Certificate

KIND = "graphprune-report"
FORMAT = 1
_SHOWN_GROUPS = 12
_SHOWN_CALLS = 4


@dataclass(frozen=True)
class Measured:
    """One row of the table: a model and what it costs.

    ``macs`` are multiply-accumulates at batch ``macs_batch``; latencies are medians in
    milliseconds of a call; ``accuracy`` is a share of 1; None: not measured.
    """

    parameters: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    accuracy: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class GroupRow:
    """A channel group before and after.

    ``members`` are ``parameter[dim]``. ``importance`` is what each channel was ranked by, ``kept``
    the numbers of those that stayed. Where the method knows how sure it is, ``intervals`` holds the
    least and the greatest importance (90 % credible intervals) of the channels that it measured,
    which are the first ones, and ``separated`` the share of pairs, one gone and one kept, whose
    intervals do not overlap; None where nothing went or nothing is known. With target ``auto``,
    ``below`` holds the probability of each channel to lie below the cut-off.
    """

    name: str
    before: int
    after: int
    members: tuple[str, ...] = ()
    importance: tuple[float, ...] = ()
    intervals: tuple[tuple[float, float], ...] = ()
    kept: tuple[int, ...] = ()
    separated: float | None = None
    below: tuple[float, ...] = ()


@dataclass(frozen=True)
class PinRow:
    """A parameter dimension of which channels had to stay, why, and where in the user's code.

    ``op`` is the operator whose call holds them, "" where no single call is to blame; ``params``
    are the parameters that touch any channel which that call holds, here and elsewhere.
    """

    parameter: str
    dim: int
    channels: int
    reason: str
    source: str = ""
    op: str = ""
    params: int = 0


@dataclass(frozen=True)
class Report:
    """What ``report.json`` holds.

    Attributes:
        source: the model's file or class.
        method: how channels were scored, such as ``l2``.
        target: the budget asked for, such as ``macs=0.5``.
        reached: share that stayed, by measure: channels, params, macs.
        models: rows by name in order: ``dense``, ``pruned``, ``onnx``.
        macs_batch: batch size that the MACs are for (1: per example).
        latency: how latencies were measured: batch, threads, repeats.
        groups, pinned: what was coupled; what had to stay, most parameters first.
        certificate: the proof of equality; None if none was made.
        seconds: by stage.
        files: SHA-256 in hex, by file name.
        versions: of Python and the libraries.
        notes: anything a reader must know, such as "no data: l2 was used".
        certainty: what the groups' intervals are, or that the method gives none.
        trials: of a search, the best allocations that were tried.
    """

    source: str
    method: str
    target: str
    reached: dict[str, float] = field(default_factory=dict)
    models: dict[str, Measured] = field(default_factory=dict)
    macs_batch: int = 1
    latency: dict[str, int] = field(default_factory=dict)
    groups: tuple[GroupRow, ...] = ()
    pinned: tuple[PinRow, ...] = ()
    certificate: Certificate | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trials: tuple[TrialRow, ...] = ()
    certainty: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dump``, with the kind and the version of the format."""
        data = dataclasses.asdict(self)
        data["certificate"] = self.certificate.to_json() if self.certificate else None
        return {"kind": KIND, "format": FORMAT, **data}

    def write_json(self, path: str | Path) -> None:
        """Write ``report.json``."""
        text = json.dumps(self.to_json(), indent=1, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Inverse of :meth:`write_json`.

        Raises:
            UsageError: the file is missing, damaged or no report of this format.
        """
        file = Path(path)
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"{file} is missing; give the folder that compress wrote") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {reason(error)}") from error
        if not isinstance(data, dict) or data.get("kind") != KIND or data.get("format") != FORMAT:
            raise UsageError(f"{file} is no graphprune report of format {FORMAT}")
        try:
            return _from_json(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{file} is damaged: {reason(error)}") from error

    def render(self, console: Console) -> None:
        """Print a summary to a terminal."""
        console.print(_heading(self))
        console.print(_table(self))
        if self.trials:
            console.print(trials_table(self.trials))
        if any(group.before != group.after for group in self.groups):
            console.print(_groups_table(self.groups))
            if self.certainty and not any(group.intervals for group in self.groups):
                console.print(Text(self.certainty, style="dim"))
        if self.pinned:
            console.print(_held_text(self.pinned))
        if self.certificate is not None:
            console.print(_certificate_line(self.certificate))
        for note in self.notes:
            console.print(Text(f"Note: {note}", style="yellow"))


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, hex."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that the result depends on."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in ("graphprune", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _from_json(data: dict[str, Any]) -> Report:
    later = {"trials", "certainty"}
    values = {f.name: data[f.name] for f in dataclasses.fields(Report) if f.name not in later}
    values["certainty"] = str(data.get("certainty", ""))
    values["models"] = {name: Measured(**row) for name, row in data["models"].items()}
    values["groups"] = tuple(_group(row) for row in data["groups"])
    values["pinned"] = tuple(PinRow(**row) for row in data["pinned"])
    values["notes"] = tuple(data["notes"])
    rows = data.get("trials", ())
    values["trials"] = tuple(TrialRow(**(row | {"widths": tuple(row["widths"])})) for row in rows)
    for name in ("reached", "latency", "seconds", "files", "versions"):
        values[name] = dict(data[name])
    if data["certificate"] is not None:
        values["certificate"] = Certificate.from_json(data["certificate"])
    return Report(**values)


def _group(row: dict[str, Any]) -> GroupRow:
    lists = {"members": tuple(row["members"])}
    lists |= {name: tuple(row.get(name, ())) for name in ("kept", "below")}
    lists["intervals"] = tuple(map(tuple, row.get("intervals", ())))
    importance = tuple(row.get("importance", ()))
    if importance and not isinstance(importance[0], float | int):  # once both were one list
        lists["intervals"] = tuple((low, high) for low, _, high in importance)
        importance = tuple(value for _, value, _ in importance)
    return GroupRow(**(row | lists | {"importance": importance}))


def _heading(report: Report) -> Text:
    reached = ", ".join(f"{name} {share:.1%}" for name, share in report.reached.items())
    heading = Text.assemble((report.source, "bold"), f"  {report.method}, target {report.target}")
    return heading.append(f", kept {reached}") if reached else heading


def _table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("model")
    macs = "MACs" if report.macs_batch == 1 else f"MACs (batch {report.macs_batch})"
    for column in ("parameters", macs):
        table.add_column(column, justify="right")
    shown = {
        "latency_ms": ("latency", "{:.2f} ms"),
        "accuracy": ("accuracy", "{:.2%}"),
        "loss": ("loss", "{:.4f}"),
    }
    rows = report.models.values()
    shown = {
        key: form
        for key, form in shown.items()
        if any(getattr(row, key) is not None for row in rows)
    }
    for column, _ in shown.values():
        table.add_column(column, justify="right")
    dense = report.models.get("dense", Measured())
    for name, row in report.models.items():
        cells = [name, _count(row.parameters, dense.parameters), _count(row.macs, dense.macs)]
        for key, (_, form) in shown.items():
            value = getattr(row, key)
            cells.append("" if value is None else form.format(value))
        table.add_row(*cells)
    if report.latency:
        table.caption = "latency: " + ", ".join(f"{k} {v}" for k, v in report.latency.items())
    return table


def _groups_table(groups: tuple[GroupRow, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("channel group", overflow="fold")
    table.add_column("channels", justify="right")
    table.add_column("members", justify="right")
    learned = any(group.separated is not None for group in groups)
    if learned:
        table.add_column("told apart", justify="right")
    for group in groups[:_SHOWN_GROUPS]:
        cells = [f"{group.before} -> {group.after}", str(len(group.members))]
        if learned:
            cells.append("" if group.separated is None else f"{group.separated:.0%}")
        table.add_row(Text(group.name), *cells)
    if len(groups) > _SHOWN_GROUPS:
        table.caption = f"and {len(groups) - _SHOWN_GROUPS} more in report.json"
    return table


def _held_text(pinned: tuple[PinRow, ...]) -> Text:
    """How much stays, and the calls that hold the most parameters, with the lines they stand in."""
    text = Text(f"Kept whole: {len(pinned)} dimensions, because of", style="dim")
    calls = dict.fromkeys((pin.params, pin.op, pin.reason, pin.source) for pin in pinned)
    for params, op, why, source in list(calls)[:_SHOWN_CALLS]:
        text.append(f"\n  {params:,} parameters: {why}" + (f" [{op}]" if op else ""))
        text.append(f"\n    {source}" if source else "")
    if len(calls) > _SHOWN_CALLS:
        text.append(f"\n  and {len(calls) - _SHOWN_CALLS} calls more in report.json")
    return text


def _certificate_line(certificate: Certificate) -> Text:
    shrunk = "shrunk (in float64)" if certificate.in_double else "shrunk"
    errors = [(shrunk, certificate.shrink_error)]
    errors += [(f"ONNX at batch {n}", e) for n, e in certificate.onnx_error.items()]
    errors += [("reloaded", certificate.reload_error)]
    shown = ", ".join(f"{name} {error:.1e}" for name, error in errors if error is not None)
    verdict = ("passed", "bold green") if certificate.passed else ("FAILED", "bold red")
    limit = f"limit {certificate.limit:.3g}"
    if certificate.rounding is not None:
        limit += f", for the model's own float32 outputs are {certificate.rounding:.1e} off"
    return Text.assemble("Certificate ", verdict, f": largest relative error {shown} ({limit})")


def _count(value: int | None, dense: int | None) -> str:
    if value is None:
        return ""
    share = f" ({value / dense:.1%})" if dense and value != dense else ""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.2f} {unit}{share}"
    return f"{value}{share}"
