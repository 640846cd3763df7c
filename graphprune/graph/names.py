"""Names of a model's attributes that a graph cannot have.

A ``torch.fx.GraphModule`` has attributes of its own (``graph``, ``code``, ``meta``), and so has the
one that torch.export makes. A model whose own ``code`` is a layer keeps it as ``code_of_model``:
such names are in the way at the root alone, as inner modules of a graph are plain ones. Words of
Python's (keys of a ``ModuleDict``: ``in``, ``global``) are so at any depth, for a graph is code.
"""

from __future__ import annotations

import copy
import dataclasses
import keyword
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

_SUFFIX = "_of_model"
_EXPORTED = {"_guards_fn", "_in_spec", "_out_spec", "range_constraints", "validate_inputs"}
_TAKEN = frozenset(
    (set(dir(fx.GraphModule(nn.Module(), fx.Graph()))) - set(dir(nn.Module())))
    | _EXPORTED
    | {"self", "shape_env"}  # the first argument of the code; an attribute for a while
)


def graph_name(name: str) -> str:
    """What a graph calls a tensor or module of the model; a graph's own names stay as they are."""
    parts = name.split(".")
    return ".".join(
        f"{part}{_SUFFIX}" if _is_taken(part, depth) else part for depth, part in enumerate(parts)
    )


def model_name(name: str) -> str:
    """The inverse of :func:`graph_name`."""
    parts = []
    for depth, part in enumerate(name.split(".")):
        own = part.removesuffix(_SUFFIX)
        parts.append(own if _is_taken(own, depth) else part)
    return ".".join(parts)


def _is_taken(part: str, depth: int) -> bool:
    return keyword.iskeyword(part) or (depth == 0 and part in _TAKEN)


def with_graph_names(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program itself, or, where a name is taken, one that calls the same tensors otherwise."""
    tensors = {**program.state_dict, **program.constants}
    if all(graph_name(name) == name for name in tensors):
        return program
    signature = program.graph_signature
    renamed = copy.copy(program)
    renamed._graph_signature = dataclasses.replace(
        signature,
        input_specs=[_renamed(spec) for spec in signature.input_specs],
        output_specs=[_renamed(spec) for spec in signature.output_specs],
    )
    renamed._state_dict = _by_graph_name(program.state_dict)
    renamed._constants = _by_graph_name(program.constants)
    return renamed


def _renamed(spec: Any) -> Any:
    if spec.target is None:
        return spec
    return dataclasses.replace(spec, target=graph_name(spec.target))


def _by_graph_name(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {graph_name(name): tensor for name, tensor in tensors.items()}
