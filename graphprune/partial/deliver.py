"""Delivery of a model compressed in parts: each part proved by itself, all in one folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import safetensors.torch
from torch import nn

from graphprune.delivery.deliver import deliver as deliver_part
from graphprune.delivery.deliver import require_deliverable
from graphprune.errors import ModelError
from graphprune.exporters.output_folder import PARTS, WEIGHTS, output_folder
from graphprune.exporters.report import file_hash
from graphprune.io.text import reason
from graphprune.partial.result import PartialCompressed, folder_names


def deliver(
    result: PartialCompressed,
    folder: Path,
    *,
    overwrite: bool = False,
    onnx: bool = True,
    latency: bool = True,
) -> Path:
    """Write ``model.safetensors``, ``report.json``, and each part like a result of its own.

    Raises:
        UsageError: the folder is in use or cannot be written.
        ModelError: a part cannot be exported, or is in half precision.
        CertificateError: a file is not proved equal to its part.
    """
    if onnx:
        require_deliverable(result.model)
    clock, folders = result.background.clock, folder_names(list(result.parts))
    with output_folder(folder, overwrite=overwrite) as place:
        with clock.stage("deliver parts"):
            for name, placed in result.parts.items():
                part = place / PARTS / folders[name]
                deliver_part(placed.compressed, part, onnx=onnx, latency=latency)
        _save_weights(result.model, place / WEIGHTS)
        files = sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())
        dataclasses.replace(
            result.report,
            seconds={name: round(value, 3) for name, value in clock.seconds.items()},
            files={name: file_hash(place / name) for name in files},
        ).write_json(place / "report.json")
    return folder


def _save_weights(model: nn.Module, path: Path) -> None:
    """The state dict; a tensor that goes by several names is written once, the names beside it."""
    try:
        safetensors.torch.save_model(model, str(path))
    except Exception as error:  # tensors that share memory in part, or are no plain tensors
        raise ModelError(
            f"the weights cannot be written as {path.name}: {reason(error)}"
        ) from error
