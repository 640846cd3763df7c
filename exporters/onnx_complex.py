"""Complex numbers in ONNX: operators without a translation, in terms of others that have one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def complex_written_out(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with ``unsqueeze`` of complex numbers as views; itself where it has none.

    Rotary embeddings are often products of complex numbers, broadcast over heads.
    """
    calls = program.graph.find_nodes(op="call_function", target=aten.unsqueeze.default)
    if not any(call.meta["val"].is_complex() for call in calls):
        return program
    written_out: torch.export.ExportedProgram = program.run_decompositions(
        {aten.unsqueeze.default: _unsqueezed}
    )
    return written_out


def _unsqueezed(x: Tensor, dim: int) -> Any:
    if not x.is_complex():
        return NotImplemented  # as it is
    place = dim % (x.ndim + 1)
    return x.view([*x.shape[:place], 1, *x.shape[place:]])
