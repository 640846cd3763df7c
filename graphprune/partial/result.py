"""A model of which parts were compressed."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from graphprune.choosing.plan import Plan
from graphprune.clock import Clock
from graphprune.delivery.measure import count_parameters
from graphprune.exporters.report import GroupRow, Measured, PinRow, versions
from graphprune.partial.prove import WholeProof
from graphprune.partial.report import LeftRow, PartialReport, PartRow
from graphprune.proof.certify import Certificate

if TYPE_CHECKING:
    from graphprune.compressed import Compressed


@dataclass(frozen=True)
class Placed:
    """A compressed part and its place in the model.

    Attributes:
        compressed: the part by itself, as a graph; its own report, certificate and files.
        how: ``class`` where the user's own class was shrunk, ``graph`` where a graph stands there.
        why: why it is not the user's class; "" if it is.
        calls, shapes: calls in a run of the model, and unlike signatures among them.
        error: largest relative error of the part, in its place, against the masked original.
    """

    compressed: Compressed
    how: str
    why: str
    calls: int
    shapes: int
    error: float


@dataclass(frozen=True)
class Background:
    """What is known of the run as a whole, for the report.

    Attributes:
        source: where the model came from.
        why: what torch.export said to the whole model.
        target: the budget asked for.
        method: how channels were scored.
        macs: of one call on the example inputs, before and after.
        parameters: of the dense model.
        left: parameters and reason by submodule left alone.
        clock: times the stages.
        notes: lines for the user.
    """

    source: str
    why: str
    target: str
    method: str
    macs: tuple[int, int]
    parameters: int
    left: dict[str, tuple[int, str]]
    clock: Clock
    notes: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class PartialCompressed:
    """A model compressed in parts, for torch.export cannot capture it whole.

    Attributes:
        model: an instance of the user's class, its parts pruned, in evaluation mode.
        parts: the compressed parts by qualified name.
        certificate: over all parts and the whole.
        whole: what was compared on the whole model.
        background: the rest of the report.
    """

    model: nn.Module
    parts: dict[str, Placed]
    certificate: Certificate
    whole: WholeProof
    background: Background

    def __repr__(self) -> str:
        source, before = self.background.source, self.background.parameters
        sizes = f"{before:,} parameters to {count_parameters(self.model):,}"
        return f"<PartialCompressed {source} ({len(self.parts)} parts): {sizes}>"

    @property
    def plan(self) -> dict[str, Plan]:
        """What was kept, by part."""
        return {name: placed.compressed.plan for name, placed in self.parts.items()}

    @cached_property
    def report(self) -> PartialReport:
        """What was asked and what came of it."""
        return _report(self)

    def save(
        self,
        folder: str | Path,
        *,
        overwrite: bool = False,
        onnx: bool = True,
        latency: bool = True,
    ) -> Path:
        """Write the parts (each as a whole result is written), the weights and the report.

        For the arguments see :meth:`graphprune.compressed.Compressed.save`.

        Raises:
            UsageError: the folder is in use.
            ModelError: a part cannot be exported.
            CertificateError: an exported part is not proved equal; nothing is left behind.
        """
        from graphprune.partial.deliver import deliver

        place = Path(folder)
        return deliver(self, place, overwrite=overwrite, onnx=onnx, latency=latency)

    def into(self, model: nn.Module) -> None:
        """Make ``model``, an instance of the class that was compressed, the small model in place.

        As :func:`graphprune.load` does with the folder that :meth:`save` writes.

        Raises:
            UsageError: it is no such instance, or its forward does not fit; it is unchanged.
            CertificateError: a part is not proved equal once written; the model is unchanged.
        """
        from graphprune.delivery.load_into import load_into

        with tempfile.TemporaryDirectory() as scratch:
            load_into(self.save(Path(scratch) / "parts", onnx=False, latency=False), model)


def folder_names(names: list[str]) -> dict[str, str]:
    """A folder for each part: its name, made fit for any file system, and unique."""
    found: dict[str, str] = {}
    for name in names:
        plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).strip(".") or "part"
        folder, count = plain, 1
        while folder.lower() in {other.lower() for other in found.values()}:
            folder, count = f"{plain}_{count}", count + 1
        found[name] = folder
    return found


def _report(result: PartialCompressed) -> PartialReport:
    known = result.background
    own = {name: placed.compressed.report for name, placed in result.parts.items()}
    widths = [pair for plan in result.plan.values() for pair in plan.widths.values()]
    after = count_parameters(result.model)
    reached = {
        "channels": sum(b for _, b in widths) / max(1, sum(a for a, _ in widths)),
        "params": after / max(1, known.parameters),
    }
    if known.macs[0]:
        reached["macs"] = known.macs[1] / known.macs[0]
    folders = folder_names(list(result.parts))
    return PartialReport(
        source=known.source,
        method=known.method,
        target=known.target,
        reached=reached,
        models={
            "dense": Measured(known.parameters, known.macs[0]),
            "pruned": Measured(after, known.macs[1]),
        },
        groups=tuple(_within(name, row) for name, r in own.items() for row in r.groups),
        pinned=_by_parameters(
            dataclasses.replace(pin, parameter=f"{name}.{pin.parameter}")
            for name, report in own.items()
            for pin in report.pinned
        ),
        certificate=result.certificate,
        seconds={name: round(value, 3) for name, value in known.clock.seconds.items()},
        versions=versions(),
        notes=known.notes,
        certainty=next((report.certainty for report in own.values()), ""),
        why=known.why,
        parts=tuple(
            PartRow(
                name,
                f"parts/{folders[name]}",
                own[name].models["dense"].parameters or 0,
                own[name].models["pruned"].parameters or 0,
                placed.how,
                placed.calls,
                placed.shapes,
                placed.error,
            )
            for name, placed in result.parts.items()
        ),
        left=tuple(LeftRow(name, *row) for name, row in known.left.items()),
        whole=dataclasses.asdict(result.whole),
    )


def _by_parameters(rows: Iterable[PinRow]) -> tuple[PinRow, ...]:
    return tuple(sorted(rows, key=lambda row: -row.params))


def _within(part: str, row: GroupRow) -> GroupRow:
    members = tuple(f"{part}.{member}" for member in row.members)
    return dataclasses.replace(row, name=f"{part}.{row.name}", members=members)
