"""What torch.export or the engine cannot read, told before either fails with words of its own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx, nn
from torch.nn.parameter import is_lazy

from graphprune.errors import DataError, ModelError, UsageError
from graphprune.graph.values import source_line


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor's elements lie at strides; not those of sparse and nested tensors."""
    return tensor.layout is torch.strided and not tensor.is_nested


def refuse_layouts(inputs: Iterable[torch.Tensor]) -> None:
    """Refuse inputs that are no plain arrays.

    Raises:
        DataError: one is sparse or nested.
    """
    for number, tensor in enumerate(inputs):
        if not is_dense(tensor):
            kind = "nested" if tensor.is_nested else "sparse"
            raise DataError(
                f"input {number} is a {kind} tensor, which cannot be followed; give a dense one"
            )


def refuse_unreadable(model: nn.Module) -> None:
    """Refuse what no change of the example inputs would help.

    Raises:
        UsageError: a submodule is TorchScript, is lazy and has not run yet, holds packed
            (quantised) weights, sparse tensors or tensors made in inference mode, or is named like
            something its owner's class has (``type``).
    """
    for name, owner in model.named_modules():
        place = f"submodule {name!r}" if name else "the model"
        if isinstance(owner, torch.jit.ScriptModule):
            raise UsageError(
                f"{place} is TorchScript, whose graph cannot be exported; "
                "put the nn.Module it was made from in its place"
            )
        tensors = [
            t for t in (*owner._parameters.values(), *owner._buffers.values()) if t is not None
        ]
        if any(map(is_lazy, tensors)):
            raise UsageError(
                f"{place} is lazy and has no weights yet; call the model once on an example first"
            )
        if any(tensor.is_inference() for tensor in tensors):
            raise UsageError(
                f"{place} has tensors made in inference mode, which cannot be traced; "
                "make and load the model outside torch.inference_mode()"
            )
        if not all(map(is_dense, tensors)):
            raise UsageError(
                f"{place} has sparse tensors, which cannot be followed; "
                "put dense ones in their place (tensor.to_dense())"
            )
        if any(isinstance(value, torch.ScriptObject) for value in vars(owner).values()):
            raise UsageError(
                f"{place} holds packed weights, as quantised layers do, which cannot be cut; "
                "compress the model before it is quantised"
            )
        for key, child in owner.named_children():
            if getattr(owner, key, None) is not child:
                raise UsageError(
                    f"submodule {f'{name}.{key}' if name else key!r}: {type(owner).__name__} has "
                    f"an attribute {key!r} of its own that hides it; rename the submodule"
                )


def refuse_branches(module: fx.GraphModule) -> None:
    """Refuse a graph that calls other graphs, of which no rule can say what channels do there.

    Raises:
        ModelError: there is such a call; parts of the model may still be captured, so it has a
            cause, as what torch.export refuses has.
    """
    for node in module.graph.nodes:
        if not isinstance(node.target, torch._ops.HigherOrderOperator):
            continue
        read = [str(one.target) for one in node.all_input_nodes if one.op == "get_attr"]
        if any(isinstance(getattr(module, name, None), fx.GraphModule) for name in read):
            where = f" ({line})" if (line := source_line(node)) else ""
            why = NotImplementedError(
                f"torch.{node.target.name()} runs graphs of its own{where}, through which channels "
                "cannot be followed"
            )
            raise ModelError(f"{why}; compress what stands before and behind it by itself") from why
