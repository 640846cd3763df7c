"""The ``.pt2`` file: a torch.export program that reloads without the original class or pickle.

``torch.export.save`` pickles the example inputs. They are left out there and travel as text
beside the program (:mod:`graphprune.io.program_record`), so the file holds no pickle at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from graphprune.capturing.capture import Captured, capture
from graphprune.errors import ModelError
from graphprune.exporters.base import Exporter
from graphprune.exporters.program import export_program
from graphprune.graph.graphmodule import TrainableGraphModule
from graphprune.io.modelfile import load_model
from graphprune.io.program_record import RECORD, make_record
from graphprune.io.text import reason
from graphprune.quiet import quiet


@dataclass(frozen=True)
class Pt2Exporter(Exporter):
    """Writes ``model.pt2``."""

    name: ClassVar[str] = "pt2"

    def export(self, captured: Captured, folder: Path) -> tuple[Path, ...]:
        """See :class:`graphprune.exporters.base.Exporter`."""
        return (save_pt2(captured, folder / "model.pt2"),)


def save_pt2(
    captured: Captured,
    path: str | Path,
    *,
    program: torch.export.ExportedProgram | None = None,
) -> Path:
    """Write graph, weights and example inputs; the graph is saved in evaluation mode.

    Args:
        captured: the model.
        path: the file to write, ending in ``.pt2``.
        program: what :func:`graphprune.exporters.program.export_program` gives for ``captured``;
            None: it is made here. Passing it to several writers saves the time.

    Returns:
        The path.

    Raises:
        ModelError: torch.export cannot export or write the graph, an input is neither tensor nor
            plain value, or the file name does not end in ``.pt2``.
    """
    target = Path(path)
    if target.suffix != ".pt2":
        raise ModelError(f"{target}: torch.export writes .pt2 files; give the file that ending")
    record = make_record(captured.module, (captured.args, captured.kwargs), captured.batch_dims)
    program = export_program(captured) if program is None else program
    examples = program.example_inputs
    # With None torch writes an empty record in place of pickled example inputs.
    program.example_inputs = None
    try:
        with quiet():
            torch.export.save(program, target, extra_files={RECORD: record})
    except Exception as error:
        raise ModelError(
            f"the model cannot be written as {target.name}: {reason(error)}"
        ) from error
    finally:
        program.example_inputs = examples
    return target


def load_pt2(path: str | Path) -> tuple[TrainableGraphModule, Captured]:
    """Read a file written by :func:`save_pt2`; nothing in it can run code.

    Returns:
        The module in evaluation mode, with the original parameter names, ready to be trained; and
        the same as a :class:`graphprune.capturing.capture.Captured` with its example inputs.

    Raises:
        ModelError: the file is missing, damaged or was not written by :func:`save_pt2`.
        UnsafePickleError: it holds a pickle or other code (so it was not).
    """
    loaded = load_model(Path(path))
    if loaded.batch_dims is None:
        raise ModelError(
            f"{loaded.source}: was not written by this version of graphprune; compress the model "
            "again, or read it with torch.export.load"
        )
    captured = capture(loaded.model, loaded.example_inputs)
    return captured.module, replace(captured, batch_dims=loaded.batch_dims)
