"""Another format from a folder that compress wrote, by any registered exporter."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from graphprune.capturing.capture import Captured
from graphprune.errors import CertificateError, UsageError
from graphprune.exporters.base import Exporter
from graphprune.exporters.output_folder import output_folder
from graphprune.exporters.pt2 import load_pt2
from graphprune.exporters.report import file_hash
from graphprune.options import Spec, build
from graphprune.partial.report import PartialReport, read_report
from graphprune.plugin_calls import calling
from graphprune.proof.certify import Certificate, model_limit, with_onnx
from graphprune.proof.check_inputs import describe_inputs
from graphprune.registry import EXPORTERS


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: the main one first.
        onnx_error: largest relative error of each ONNX file against PyTorch, by file name; other
            formats are not run, so nothing is proved of them.
    """

    files: tuple[Path, ...]
    onnx_error: dict[str, float] = field(default_factory=dict)


def make_exporter(text: str) -> Exporter:
    """The exporter called ``name``, ``name{option=value,...}`` or ``package.module:Class``.

    Raises:
        UsageError: there is no such exporter, or it refuses its options.
    """
    spec = Spec.parse(text)
    made = build(EXPORTERS.load(spec.name), spec)
    if isinstance(made, Exporter):
        return made
    raise UsageError(
        f"{spec.name} is no exporter; derive it from graphprune.exporters.base.Exporter"
    )


def export(folder: str | Path, exporter: str | Exporter, output: str | Path) -> Exported:
    """Write the small model of ``folder`` in another format.

    Args:
        folder: written by compress; of a model compressed in parts, one of its ``parts``.
        exporter: itself, or what :func:`make_exporter` takes.
        output: the folder to write, which appears only when it is complete; it must not exist, or
            be empty.

    Raises:
        UsageError: a folder is not as above, or the exporter is unknown, or what it hands over is
            not what it has written.
        ModelError: the model cannot be written in this format.
        CertificateError: ``model.pt2`` is not what compress wrote, or an ONNX file is not equal.
    """
    made = make_exporter(exporter) if isinstance(exporter, str) else exporter
    file = _small_model(Path(folder))
    _, captured = load_pt2(file)
    with output_folder(output) as place:
        written = _written(made, captured, place)
        _, captured = load_pt2(file)  # as it is, whatever the exporter did with what it was given
        asked = Certificate(model_limit(captured), describe_inputs(0, captured))
        errors = {
            path.name: max(with_onnx(asked, captured, path).onnx_error.values())
            for path in written
            if path.suffix == ".onnx" and path.is_file()
        }
        names = [path.relative_to(place.resolve()) for path in written]
    return Exported(tuple(Path(output) / name for name in names), errors)


def _written(made: Exporter, captured: Captured, folder: Path) -> tuple[Path, ...]:
    """What an exporter, perhaps someone else's, has written into the folder.

    Raises:
        UsageError: it raised what says nothing to the user, or gave something else.
    """
    who, what = f"exporter {getattr(made, 'name', type(made).__name__)}", "export(captured, folder)"
    with calling(made, who, what):
        given: object = made.export(captured, folder)
    expected = "a tuple of the paths that it wrote within folder, the main one first"
    if not isinstance(given, tuple | list) or not given:
        gave = "no path" if given is None or given in ((), []) else f"a {type(given).__name__}"
        raise UsageError(f"{who}: {what} gave {gave}; expected {expected}")
    root = folder.resolve()
    for path in given:
        if not isinstance(path, Path):
            wrong = f"a {type(path).__name__} among them"
        elif root not in path.resolve().parents:
            wrong = f"{path}, which is not within folder"
        elif not path.exists():
            wrong = f"{path.resolve().relative_to(root)}, which it has not written"
        else:
            continue
        raise UsageError(f"{who}: {what} gave {wrong}; expected {expected}")
    return tuple(path.resolve() for path in given)


def _small_model(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the folder that compress wrote")
    report = read_report(folder / "report.json")
    if isinstance(report, PartialReport):
        raise UsageError(
            f"{folder} was compressed in parts; export each of the folders in {folder / 'parts'}"
        )
    file = folder / "model.pt2"
    if not file.is_file() or file_hash(file) != report.files.get(file.name):
        raise CertificateError(
            f"{file} is missing or not the file that compress wrote; compress the model again"
        )
    return file
