"""Delivery: export, prove the files, measure, report; all in one folder or nothing at all."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graphprune.capturing.capture import Captured
from graphprune.delivery.advice import width_advice
from graphprune.delivery.measure import call, latencies
from graphprune.errors import CertificateError, ModelError
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.onnx_ops import WITHOUT_ONNX, require_onnx
from graphprune.exporters.output_folder import output_folder
from graphprune.exporters.program import export_program
from graphprune.exporters.pt2 import save_pt2
from graphprune.exporters.report import Measured, Report, file_hash
from graphprune.graph.trees import Inputs, copy_of, replace_tensors, tensor_leaves
from graphprune.proof.certify import Certificate, with_onnx, with_reload
from graphprune.proof.fresh_inputs import batch_size, fixed_batch, with_batch
from graphprune.proof.onnxrun import OnnxModel
from graphprune.proof.reload import require_reloadable
from graphprune.training.devices import on_cpu
from graphprune.training.evaluate import evaluate, loss_of

if TYPE_CHECKING:
    from graphprune.compressed import Compressed

LATENCY_BATCH = 1


def require_deliverable(model: nn.Module | torch.export.ExportedProgram) -> None:
    """Refuse weights that the ONNX file cannot be proved with.

    Raises:
        ModelError: a parameter is in half precision, which onnxruntime's CPU provider cannot run.
    """
    for name, parameter in model.named_parameters():
        if parameter.dtype in (torch.float16, torch.bfloat16):
            kind = str(parameter.dtype).removeprefix("torch.")
            raise ModelError(
                f"parameter {name} is {kind}, which the exported ONNX file cannot be proved in; "
                f"convert the model with model.float() first, or {WITHOUT_ONNX}"
            )


def deliver(
    result: Compressed,
    folder: Path,
    *,
    overwrite: bool = False,
    onnx: bool = True,
    latency: bool = True,
) -> Path:
    """Write model.onnx (unless left out), model.pt2, plan.json and report.json to ``folder``.

    The folder appears only once everything in it is proved. Without ``latency`` the times of the
    dense and the small model, which are for the report alone, are not measured.

    Raises:
        UsageError: the folder is in use or cannot be written.
        ModelError: the model cannot be exported, or is in half precision.
        CertificateError: a file is not proved equal to the model.
    """
    stages = result.stages
    require_reloadable(stages.small.module)
    if onnx:
        require_deliverable(result.model)
        require_onnx(stages.small.module)
    small, clock = on_cpu(stages.small), stages.clock
    with output_folder(folder, overwrite=overwrite) as place:
        with clock.stage("export"):
            program = export_program(small)
            files, for_onnx, note = _write_onnx(small, place, program) if onnx else ((), None, "")
            save_pt2(small, place / "model.pt2", program=program)
            result.plan.save(place / "plan.json")
        with clock.stage("certify files"):
            certificate = _certify_files(result.certificate, small, for_onnx, place)
        with clock.stage("measure"):
            report = _judged(result, place / "model.onnx", note) if onnx else result.report
            if latency:
                report = _timed(report, result, for_onnx or small, place if onnx else None)
        names = [path.name for path in files] + ["model.pt2", "plan.json"]
        dataclasses.replace(
            report,
            certificate=certificate,
            seconds={name: round(value, 3) for name, value in clock.seconds.items()},
            files={name: file_hash(place / name) for name in names},
        ).write_json(place / "report.json")
    return folder


def _write_onnx(
    small: Captured, place: Path, program: torch.export.ExportedProgram
) -> tuple[tuple[Path, ...], Captured, str]:
    """The files, the model as they hold it, and what a reader must know of them.

    Some operators take a free batch in PyTorch but not in ONNX (examples as the groups of a
    convolution); such a model is written for the batch of the examples.
    """
    path = place / "model.onnx"
    try:
        return export_onnx(small, path, program=program), small, ""
    except ModelError as error:
        size, fixed = batch_size(small), fixed_batch(small)
        if size is None:
            raise
        try:
            files = export_onnx(fixed, path)
        except ModelError:
            raise error from None
        return files, fixed, f"model.onnx takes a batch of {size} only: with a free batch, {error}"


def _certify_files(
    proved: Certificate, small: Captured, for_onnx: Captured | None, place: Path
) -> Certificate:
    try:
        if for_onnx is not None:
            proved = with_onnx(proved, for_onnx, place / "model.onnx")
    except CertificateError as failed:
        wide = any(p.dtype == torch.float64 for p in small.module.parameters())
        hint = "convert the model with model.float() first, or " if wide else ""
        raise CertificateError(f"{failed}; {hint}{WITHOUT_ONNX}") from failed
    return with_reload(proved, small, place, onnx=for_onnx is not None)


def _judged(result: Compressed, onnx_path: Path, note: str) -> Report:
    """The report with a row for the ONNX file, judged on the held-out data where there are any.

    Held-out batches are of any size, so a file for one size, which has a note, is not judged.
    """
    models = dict(result.report.models)
    figures = {} if note else _judge_onnx(result, OnnxModel(onnx_path))
    models["onnx"] = dataclasses.replace(
        models["pruned"],
        accuracy=figures.get("accuracy"),
        loss=loss_of(figures),
    )
    notes = (*result.report.notes, *([note] if note else []))
    return dataclasses.replace(result.report, models=models, notes=notes)


def _timed(report: Report, result: Compressed, small: Captured, place: Path | None) -> Report:
    """The report with latencies on the CPU, and a row for an ONNX file of the dense model.

    ``place`` holds the small model's ONNX file; None: there is none.
    """
    dense = on_cpu(result.stages.dense)
    if not small.dynamic_batch:
        dense = fixed_batch(dense)
    inputs = _latency_inputs(dense)
    batch = next((t.shape[0] for t in tensor_leaves(inputs) if t.ndim), 0)
    calls = {"dense": call(dense.module, inputs), "pruned": call(small.module, inputs)}
    models = dict(report.models)
    with tempfile.TemporaryDirectory() as scratch:
        if place is not None:
            dense_path = Path(scratch) / "dense.onnx"
            export_onnx(dense, dense_path)
            calls["dense onnx"] = _call(OnnxModel(dense_path), inputs)
            calls["onnx"] = _call(OnnxModel(place / "model.onnx"), inputs)
            models["dense onnx"] = dataclasses.replace(models["dense"], accuracy=None, loss=None)
        times = latencies(calls, batch=batch)
    rows: dict[str, Measured] = {
        name: dataclasses.replace(models[name], latency_ms=times[name].median_ms)
        for name in ("dense", "dense onnx", "pruned", "onnx")
        if name in times
    }
    one = times["pruned"]
    stated = {"batch": one.batch, "threads": one.threads, "repeats": one.repeats}
    notes = (*report.notes, *width_advice(rows, result.plan))
    return dataclasses.replace(report, models=rows, latency=stated, notes=notes)


def _latency_inputs(captured: Captured) -> Inputs:
    if captured.dynamic_batch:
        return with_batch(captured, LATENCY_BATCH)
    return captured.args, captured.kwargs


def _call(session: OnnxModel, inputs: Inputs) -> Any:
    feed = session.feed(inputs)
    return lambda: session.run(feed)


def _judge_onnx(result: Compressed, session: OnnxModel) -> dict[str, float]:
    held_out = result.stages.held_out
    if held_out is None:
        return {}
    small = result.stages.small
    args, kwargs = copy_of((small.args, small.kwargs))
    with torch.no_grad():
        like = small.module(*args, **kwargs)
    return evaluate(
        _OnnxModule(session, like),
        held_out,
        loss=result.stages.loss,
        teacher=result.stages.dense.module,
    )


class _OnnxModule(nn.Module):
    """An ONNX file called like the model it came from, whose outputs are nested as in ``like``."""

    def __init__(self, session: OnnxModel, like: Any) -> None:
        super().__init__()
        self._session, self._like = session, like

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self._session((args, kwargs))
        device = next((t.device for t in tensor_leaves((args, kwargs))), None)
        return replace_tensors(self._like, [output.to(device) for output in outputs])
