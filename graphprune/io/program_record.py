"""What ``torch.export.save`` loses of a program, as a record of text in the same archive.

Example inputs (torch would pickle them), which parameters are one tensor, which are frozen, and
which dimensions are the batch.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import zipfile
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.utils import _pytree as pytree

from graphprune.errors import ModelError
from graphprune.graph.trees import tensor_leaves, to_plain
from graphprune.io.hints import Example
from graphprune.io.text import reason

BatchDims = tuple[int | None, ...]  # for each input tensor, which of its dimensions is the batch
RECORD = "graphprune.json"
FORMAT = 1
_CONSTANTS = (int, float, str, bool, type(None))


def make_record(module: nn.Module, inputs: Example, batch_dims: BatchDims) -> str:
    """The record of a module that is about to be saved as a program.

    Args:
        module: its parameters and buffers have the names that the program will have.
        inputs: ``(args, kwargs)`` that it takes: tensors and plain values, in any containers.
        batch_dims: for each tensor among them, which of its dimensions is the batch, or None.

    Raises:
        ModelError: an input is neither tensor nor plain value.
    """
    leaves = pytree.tree_leaves(to_plain(inputs))
    for leaf in leaves:
        if not isinstance(leaf, (torch.Tensor, *_CONSTANTS)):
            raise ModelError(f"an example input is a {type(leaf).__name__}; use tensors or numbers")
    packed = safetensors.torch.save(
        {
            str(number): tensor.detach().cpu().contiguous().clone()
            for number, tensor in enumerate(tensor_leaves(leaves))
        }
    )
    values = [None if isinstance(leaf, torch.Tensor) else {"value": leaf} for leaf in leaves]
    parameters = module.named_parameters(remove_duplicate=False)
    return json.dumps(
        {
            "format": FORMAT,
            "batch_dims": list(batch_dims),
            "inputs": {"leaves": values, "tensors": base64.b64encode(packed).decode("ascii")},
            "tied": _tied(module),
            "requires_grad": [name for name, tensor in parameters if tensor.requires_grad],
        }
    )


def read_record(data: bytes) -> dict[str, Any] | None:
    """The record in an archive (its bytes), or None where it has none of this format.

    Raises:
        zipfile.BadZipFile, OSError, ValueError: the archive or the record is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [n for n in archive.namelist() if n.partition("/")[2] == f"extra/{RECORD}"]
        record = json.loads(archive.read(names[0])) if names else None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def restore(
    program: torch.export.ExportedProgram, record: dict[str, Any], source: str
) -> tuple[Example, BatchDims]:
    """Tie and freeze the program's parameters as they were; return example inputs and batch.

    Raises:
        ModelError: the record does not fit the program.
    """
    try:
        for first, *others in record["tied"]:
            tensors = program.state_dict if first in program.state_dict else program.constants
            for name in others:
                if name not in tensors:
                    raise KeyError(name)
                tensors[name] = tensors[first]
        trainable = set(record["requires_grad"])
        for name in program.graph_signature.parameters:
            program.state_dict[name].requires_grad_(name in trainable)
        dims = tuple(None if dim is None else int(dim) for dim in record["batch_dims"])
        return _inputs(record["inputs"], program), dims
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise ModelError(
            f"{source}: its {RECORD} does not fit the program ({reason(error)})"
        ) from error


def _tied(module: nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, tensor in [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]:
        names.setdefault(id(tensor), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _inputs(packed: dict[str, Any], program: torch.export.ExportedProgram) -> Example:
    try:
        tensors = safetensors.torch.load(base64.b64decode(packed["tensors"], validate=True))
    except (binascii.Error, safetensors.SafetensorError) as error:
        raise ValueError(str(error)) from error
    order = iter(range(len(tensors)))
    leaves = [
        tensors[str(next(order))] if leaf is None else leaf["value"] for leaf in packed["leaves"]
    ]
    args, kwargs = pytree.tree_unflatten(leaves, program.call_spec.in_spec)
    return tuple(args), dict(kwargs)
