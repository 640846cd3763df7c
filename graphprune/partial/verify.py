"""Checking the folder of a model compressed in parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import safetensors
import torch

from graphprune.errors import CertificateError
from graphprune.exporters.output_folder import ARTEFACTS, PARTS, WEIGHTS
from graphprune.exporters.pt2 import load_pt2
from graphprune.exporters.report import file_hash
from graphprune.graph.names import model_name
from graphprune.io.text import few, reason
from graphprune.partial.putback import CLASS
from graphprune.partial.report import PartialReport, PartRow
from graphprune.proof.certify import Certificate

_GRAPH_PREFIX = "graph."
_ROUNDING = 1e-2
"""How far one factor may differ between weights, which half precision rounds."""


def verify_parts(
    place: Path, report: PartialReport, verify: Callable[[Path], Certificate]
) -> Certificate:
    """Check every part as a result of its own, and the weights of the whole against them.

    Args:
        place: the folder.
        report: of the whole.
        verify: checks the folder of one part.

    Returns:
        The largest errors of all parts, without a shrink error, for the original is not there.

    Raises:
        CertificateError: a file differs from the report, or the files contradict each other.
    """
    _check_files(place, report)
    tensors = whole_weights(place / WEIGHTS)
    found = []
    for row in report.parts:
        _check_weights(row, place / row.folder, tensors)
        found.append(verify(place / row.folder))
    onnx: dict[int, float] = {}
    for one in found:
        for size, error in one.onnx_error.items():
            onnx[size] = max(error, onnx.get(size, 0.0))
    return Certificate(
        max(one.limit for one in found),
        f"{len(found)} parts, each on {found[0].inputs}; the whole model was not run",
        None,
        onnx,
        max(one.reload_error or 0.0 for one in found),
        max((e for one in found if (e := one.reload_onnx_error) is not None), default=None),
    )


def part_folders(report: PartialReport) -> set[str]:
    """The folders of the parts. Their names come from a file: nothing outside may be opened.

    Raises:
        CertificateError: the report names others than compress writes, or none.
    """
    folders = {row.folder for row in report.parts}
    plain = all(
        len(path.parts) == 2 and path.parts[0] == PARTS and ".." not in path.parts
        for path in map(Path, folders)
    )
    if not folders or len(folders) != len(report.parts) or not plain:
        raise CertificateError("report.json names no parts, or folders that compress never writes")
    return folders


def _check_files(place: Path, report: PartialReport) -> None:
    folders = part_folders(report)
    allowed = {f"{folder}/{name}" for folder in folders for name in ARTEFACTS} | {WEIGHTS}
    strange = sorted(set(report.files) - allowed)
    if strange:
        raise CertificateError(f"report.json lists {few(strange)}, which compress never writes")
    needed = {f"{folder}/report.json" for folder in folders} | {WEIGHTS}
    for name in sorted({*needed, *report.files}):
        file = place / name
        if not file.is_file():
            raise CertificateError(f"{file} is missing; compress the model again")
        if file_hash(file) != report.files.get(name):
            raise CertificateError(
                f"{file} is not the file that compress wrote (its hash differs from report.json)"
            )


def whole_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights of the whole by all of their names: those of a tied one lie in the file's metadata.

    Raises:
        CertificateError: the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            aliases = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise CertificateError(f"{path} cannot be read: {reason(error)}") from error
    for name, kept in aliases.items():
        if kept in tensors:
            tensors.setdefault(name, tensors[kept])
    return tensors


def _agree(found: torch.Tensor, tensor: torch.Tensor, *, scaled: bool) -> bool:
    """Whether two weights are equal, but for rows that make up for an attention's scale.

    Those, which a part put back as its class may have, are all multiplied by one number.
    """
    if found.shape != tensor.shape or found.dtype != tensor.dtype:
        return False
    unlike = found != tensor
    if not unlike.any():
        return True
    ratios = found[unlike].double() / tensor[unlike].double()
    close = torch.allclose(ratios, ratios[0], rtol=_ROUNDING, atol=0)
    return scaled and tensor.is_floating_point() and close and float(ratios[0]) > 0


def _check_weights(row: PartRow, folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    module, _ = load_pt2(folder / "model.pt2")
    weights = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    for name, tensor in module.state_dict().items():
        places = [f"{row.name}.{own}" for own in (model_name(name), f"{_GRAPH_PREFIX}{name}")]
        found = next((tensors[place] for place in places if place in tensors), None)
        if found is None and name not in weights:
            continue  # a constant of the graph that is no tensor of the model
        if found is None or not _agree(found, tensor, scaled=row.placed == CLASS):
            raise CertificateError(
                f"{WEIGHTS} and {row.folder}/model.pt2 differ at {row.name}.{name}; "
                "compress the model again"
            )
