"""Operators of other libraries in ONNX: translations that users give, and what lacks one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from graphprune.errors import ModelError, UsageError
from graphprune.graph.chance import draws
from graphprune.graph.operators import foreign_calls, overloads_of
from graphprune.graph.values import concrete, is_tensor, shape_of, source_line
from graphprune.io.text import reason
from graphprune.quiet import quiet

Translation = Callable[..., Any]
"""Called as the operator is, with ONNX values for its tensors; written in onnxscript's opsets."""

TRANSLATIONS: dict[Callable[..., Any], Translation] = {}

WITHOUT_ONNX = "leave ONNX out with --no-onnx (in Python: save(folder, onnx=False))"


def onnx_translation(*operators: Any) -> Callable[[Translation], Translation]:
    """Decorator: the function says in ONNX what these operators compute.

    ::

        from onnxscript import opset18 as onnx

        @graphprune.onnx_translation(torch.ops.mylib.scale_channels)
        def scale_channels(x, scale):
            return onnx.Mul(x, onnx.Unsqueeze(scale, [1]))

    It is what ``torch.onnx.export`` takes as ``custom_translation_table``. A wrong one does not get
    through: onnxruntime is compared with PyTorch.

    Args:
        operators: overloads, whole packets, or what ``torch.library.custom_op`` returns.

    Raises:
        UsageError: one of them is no operator, or has a translation already.
    """
    targets = [target for operator in operators for target in overloads_of(operator)]

    def decorate(function: Translation) -> Translation:
        for target in targets:
            if target in TRANSLATIONS:
                raise UsageError(f"there is an ONNX translation for {target} already")
            TRANSLATIONS[target] = function
        return function

    return decorate


def like(number: float, values: Any) -> Any:
    """A number as a constant of a translation, in the type of ``values``."""
    from onnxscript import opset18  # only now: it takes a second

    constant: Any = opset18.Constant(value_float=number)
    return opset18.CastLike(constant, values)


def numbers(*values: int) -> Any:
    """Whole numbers as a constant of a translation: a vector of int64."""
    from onnxscript import opset18

    return opset18.Constant(value_ints=list(values))


def require_onnx(module: fx.GraphModule) -> None:
    """Refuse a graph with an operator of another library that cannot be written as ONNX.

    Each such operator is exported by itself, which takes about a second; graphs of torch's own
    operators cost nothing.

    Raises:
        ModelError: it names the operator, the line of the user's model, and the ways out; random
            numbers in evaluation, which another runtime draws otherwise, are refused too.
    """
    for node in module.graph.nodes:
        if node.users and draws(node):
            line = source_line(node)
            raise ModelError(
                f"{node.target}" + (f" ({line})" if line else "") + " draws random numbers in "
                "evaluation, and ONNX draws others, so that nothing could be compared; make them "
                f"an input of the model, or {WITHOUT_ONNX}"
            )
    for target, node in foreign_calls(module).items():
        failure = _failure(node)
        if failure is None:
            continue
        line = source_line(node)
        where = f"{target}" + (f" ({line})" if line else "")
        if target in TRANSLATIONS:
            raise ModelError(
                f"the ONNX translation of {where} fails: {failure}; mend it, or {WITHOUT_ONNX}"
            )
        raise ModelError(
            f"operator {where} has no ONNX translation; give one with graphprune.onnx_translation "
            f"in a module named with --rules, or {WITHOUT_ONNX}"
        )


def _failure(node: fx.Node) -> str | None:
    """Why torch.onnx cannot write this one call; None if it can, or if it cannot be tried."""
    module, examples = _one_call(node)
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(module, examples, strict=False)
        except Exception:  # noqa: BLE001 - the operator may raise anything for stand-ins
            return None
        try:
            torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                optimize=False,
                custom_translation_table=dict(TRANSLATIONS),
            )
        except Exception as error:  # noqa: BLE001 - so may a translation
            return first_cause(error)
    return None


def _one_call(node: fx.Node) -> tuple[fx.GraphModule, tuple[torch.Tensor, ...]]:
    """A graph of this call alone, and tensors of the right shapes to call it with."""
    graph = fx.Graph()
    given = [argument for argument in node.all_input_nodes if is_tensor(argument)]
    own = {argument: graph.placeholder(argument.name) for argument in given}

    def stand_in(argument: fx.Node) -> Any:
        return own[argument] if argument in own else concrete(argument)

    args = concrete(fx.node.map_arg(node.args, stand_in))
    kwargs = {name: concrete(fx.node.map_arg(v, stand_in)) for name, v in node.kwargs.items()}
    assert callable(node.target)
    graph.output(graph.call_function(node.target, args, kwargs))
    examples = tuple(torch.zeros((), dtype=n.meta["val"].dtype).expand(shape_of(n)) for n in given)
    return fx.GraphModule(torch.nn.Module(), graph), examples


def first_cause(error: BaseException) -> str:
    """The first cause: torch.onnx wraps errors in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return reason(error)
