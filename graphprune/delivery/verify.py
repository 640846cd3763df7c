"""``graphprune verify``: does an output folder still hold what its report says?"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from graphprune.choosing.plan import Plan
from graphprune.delivery.measure import count_parameters
from graphprune.errors import CertificateError, UsageError
from graphprune.exporters.output_folder import ARTEFACTS
from graphprune.exporters.pt2 import load_pt2
from graphprune.exporters.report import Report, file_hash
from graphprune.graph.graphmodule import TrainableGraphModule
from graphprune.io.text import few, reason
from graphprune.partial.report import PartialReport, read_report
from graphprune.partial.verify import verify_parts
from graphprune.proof.certify import Certificate, model_limit, with_onnx, with_reload
from graphprune.proof.check_inputs import describe_inputs
from graphprune.proof.fresh_inputs import fixed_batch

_NEEDED = ("model.pt2", "plan.json")
SEED = 1
"""Of the inputs; compress draws with another seed, so verify sees inputs that are new."""


def verify(folder: str | Path, *, seed: int = SEED) -> Certificate:
    """Check a folder written by compress: files, plan, ONNX and the reloaded model.

    Hashes are those of ``report.json``, which itself is not signed: they show damage and careless
    edits, not forgery. Everything else is recomputed. Of a model compressed in parts, each part is
    checked so, and that the weights of the whole hold what the parts hold; the whole model cannot
    be run, for its class is not in the folder.

    Args:
        folder: the folder.
        seed: of the random inputs that the models are compared on.

    Returns:
        A certificate without a shrink error, for the original is not there.

    Raises:
        UsageError: the folder or one of its files is missing or unreadable.
        CertificateError: a file differs from the report, or the files contradict each other.
    """
    place = Path(folder)
    if not place.is_dir():
        raise UsageError(f"{place} is no folder; give the folder that compress wrote")
    report = read_report(place / "report.json")
    if isinstance(report, PartialReport):
        return verify_parts(place, report, lambda part: verify(part, seed=seed))
    _check_files(place, report)
    module, captured = load_pt2(place / "model.pt2")
    _check_plan(Plan.load(place / "plan.json"), module)
    _check_parameters(report, module)
    proved = Certificate(model_limit(captured), describe_inputs(seed, captured))
    if _has_onnx(report):
        try:
            onnx.checker.check_model(str(place / "model.onnx"))
        except Exception as error:  # the checker raises protobuf's and its own errors
            raise CertificateError(f"model.onnx is no valid ONNX: {reason(error)}") from error
        like = fixed_batch(captured) if _fixed_onnx(report) else captured
        proved = with_onnx(proved, like, place / "model.onnx", seed=seed)
    return with_reload(proved, captured, place, seed=seed, onnx=_has_onnx(report))


def _has_onnx(report: Report) -> bool:
    """Whether an ONNX file was written; it is left out on request."""
    proved = report.certificate is not None and bool(report.certificate.onnx_error)
    return proved or "model.onnx" in report.files


def _fixed_onnx(report: Report) -> bool:
    """Whether the ONNX file was written, and proved, for one batch size only."""
    return report.certificate is not None and len(report.certificate.onnx_error) == 1


def _check_files(place: Path, report: Report) -> None:
    # The names come from a file: nothing outside the folder may be opened.
    strange = sorted(set(report.files) - ARTEFACTS)
    if strange:
        raise CertificateError(f"report.json lists {few(strange)}, which compress never writes")
    needed = (*_NEEDED, "model.onnx") if _has_onnx(report) else _NEEDED
    for name in sorted({*needed, *report.files}):
        file = place / name
        if not file.is_file():
            raise CertificateError(f"{file} is missing; compress the model again")
        if name not in report.files:
            raise CertificateError(f"report.json has no hash of {name}; compress the model again")
        if file_hash(file) != report.files[name]:
            raise CertificateError(
                f"{file} is not the file that compress wrote (its hash differs from report.json)"
            )


def _check_parameters(report: Report, module: TrainableGraphModule) -> None:
    stated = report.models["pruned"].parameters if "pruned" in report.models else None
    found = count_parameters(module)
    if stated is not None and stated != found:
        raise CertificateError(f"report.json states {stated} parameters, but model.pt2 has {found}")


def _check_plan(plan: Plan, module: TrainableGraphModule) -> None:
    tensors: dict[str, torch.Tensor] = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    for name, dims in plan.kept.items():
        if name not in tensors:
            raise CertificateError(f"plan.json names {name}, which model.pt2 does not have")
        shape = tensors[name].shape
        for dim, positions in dims.items():
            kept = _kept(positions)
            if not 0 <= dim < len(shape) or shape[dim] not in kept:
                size = shape[dim] if 0 <= dim < len(shape) else "nothing"
                raise CertificateError(
                    f"plan.json keeps {max(kept)} positions of {name}, dimension {dim}, "
                    f"but model.pt2 has {size} there"
                )


def _kept(positions: list[int] | list[list[int]]) -> set[int]:
    """Sizes that a plan's entry stands for; rows all keep as many positions."""
    rows = {len(row) for row in positions if isinstance(row, list)}
    return rows if rows else {len(positions)}
