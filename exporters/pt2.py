"""The ``.pt2`` file: a torch.export program that reloads without the original class or pickle.

``torch.export.save`` pickles the example inputs. They are left out there and travel as text
beside the program (safetensors bytes in base64), so the file holds no pickle at all.
"""

from __future__ import annotations

import base64
import binascii
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured, capture
from graphprune.errors import ModelError
from graphprune.exporters.base import Exporter
from graphprune.exporters.program import export_program
from graphprune.graph.graphmodule import TrainableGraphModule
from graphprune.graph.trees import tensor_leaves, to_plain
from graphprune.io.modelfile import load_model
from graphprune.io.text import reason
from graphprune.quiet import quiet

FORMAT = 1
_EXTRA = "graphprune.json"
_CONSTANTS = (int, float, str, bool, type(None))


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
    extra = json.dumps(_extra(captured))
    program = export_program(captured) if program is None else program
    examples = program.example_inputs
    # With None torch writes an empty record in place of pickled example inputs.
    program.example_inputs = None
    try:
        with quiet():
            torch.export.save(program, target, extra_files={_EXTRA: extra})
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
    file = Path(path)
    model = load_model(file).model
    extra = _read_extra(file)
    try:
        inputs = _inputs(extra["inputs"], model)
        captured = capture(model, inputs)
        _restore(captured.module, extra)
        dims = tuple(None if d is None else int(d) for d in extra["batch_dims"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(
            f"{file}: its {_EXTRA} does not fit the program ({reason(error)})"
        ) from error
    return captured.module, Captured(captured.module, captured.args, captured.kwargs, dims)


def _extra(captured: Captured) -> dict[str, Any]:
    """What torch.export.save loses: inputs, tied parameters, buffers left out of state dicts."""
    leaves = pytree.tree_leaves((to_plain(captured.args), to_plain(captured.kwargs)))
    tensors = tensor_leaves(leaves)
    for leaf in leaves:
        if not isinstance(leaf, (torch.Tensor, *_CONSTANTS)):
            raise ModelError(f"an example input is a {type(leaf).__name__}; use tensors or numbers")
    packed = safetensors.torch.save(
        {str(i): t.detach().cpu().contiguous().clone() for i, t in enumerate(tensors)}
    )
    values = [None if isinstance(leaf, torch.Tensor) else {"value": leaf} for leaf in leaves]
    return {
        "format": FORMAT,
        "batch_dims": list(captured.batch_dims),
        "inputs": {"leaves": values, "tensors": base64.b64encode(packed).decode("ascii")},
        "tied": _tied(captured.module),
        "not_saved": [
            f"{prefix}.{key}".lstrip(".")
            for prefix, owner in captured.module.named_modules()
            for key in sorted(owner._non_persistent_buffers_set)
        ],
        "requires_grad": [
            n
            for n, p in captured.module.named_parameters(remove_duplicate=False)
            if p.requires_grad
        ],
    }


def _tied(module: nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, tensor in [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]:
        names.setdefault(id(tensor), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _restore(module: TrainableGraphModule, extra: dict[str, Any]) -> None:
    trainable = set(extra["requires_grad"])
    for name, parameter in module.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(name in trainable)
    for first, *others in extra["tied"]:
        owner, _, key = first.rpartition(".")
        shared = getattr(module.get_submodule(owner), key)
        for name in others:
            owner, _, key = name.rpartition(".")
            setattr(module.get_submodule(owner), key, shared)
    for name in extra["not_saved"]:
        owner, _, key = name.rpartition(".")
        module.get_buffer(name)  # raises AttributeError if there is none
        module.get_submodule(owner)._non_persistent_buffers_set.add(key)


def _read_extra(file: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if n.partition("/")[2] == f"extra/{_EXTRA}"]
            extra = json.loads(archive.read(names[0])) if names else None
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ModelError(f"{file}: damaged file ({reason(error)})") from error
    if not isinstance(extra, dict) or extra.get("format") != FORMAT:
        raise ModelError(
            f"{file}: was not written by this version of graphprune; compress the model again, or "
            "read it with torch.export.load"
        )
    return extra


def _inputs(packed: dict[str, Any], model: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        tensors = safetensors.torch.load(base64.b64decode(packed["tensors"], validate=True))
    except (binascii.Error, safetensors.SafetensorError) as error:
        raise ValueError(str(error)) from error
    order = iter(range(len(tensors)))
    leaves = [
        tensors[str(next(order))] if leaf is None else leaf["value"] for leaf in packed["leaves"]
    ]
    args, kwargs = pytree.tree_unflatten(leaves, model.call_spec.in_spec)
    return tuple(args), dict(kwargs)
