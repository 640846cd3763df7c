"""torch.onnx's optimiser, kept from taking small numbers for none.

onnxscript (0.7) drops additions of a constant within 1e-8 of zero, so that ``x / (norm + 1e-12)``
loses what keeps it from dividing by zero, and no random input would tell; likewise factors within
1e-5 of one. Such calls are hidden while it runs: a name of another domain is no operator to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from onnxscript import ir

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
_PASSED_ON = ("Cast", "CastLike", "Identity", "Reshape", "Unsqueeze")
_DOMAIN = "graphprune.hidden"


def optimise_exactly(program: torch.onnx.ONNXProgram) -> None:
    """Fold constants and merge operators of an exported program, in place, with no number lost."""
    for node in _nodes(program.model):
        neutral = _NEUTRAL.get(node.op_type)
        if neutral is not None and not node.domain and _nearly(node, neutral):
            node.domain = _DOMAIN
    program.model.opset_imports[_DOMAIN] = 1
    program.optimize()
    for node in _nodes(program.model):
        if node.domain == _DOMAIN:
            node.domain = ""
    program.model.opset_imports.pop(_DOMAIN, None)


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    from onnxscript import ir  # only now: it takes a second

    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def _nearly(node: ir.Node, neutral: float) -> bool:
    """Whether an operand is close enough to the neutral number to be taken for it, but is not."""
    numbers = [_number(value) for value in node.inputs]
    return any(
        number is not None
        and number != neutral
        and math.isclose(number, neutral, rel_tol=1e-4, abs_tol=1e-7)
        for number in numbers
    )


def _number(value: Any) -> float | None:
    """The one number that a value is, whatever the file holds; None of other values."""
    from onnxscript import ir

    while value is not None and (maker := value.producer()) is not None:
        if maker.op_type not in _PASSED_ON:
            break
        value = maker.inputs[0]
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return float(tensor.numpy().reshape(-1)[0]) if tensor is not None and tensor.size == 1 else None
