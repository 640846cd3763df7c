"""Reading shapes and kinds off the fake tensors that a captured graph carries."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.fx.experimental.symbolic_shapes import statically_known_true

UNKNOWN_SIZE = 3
"""Stands for a size that the data decides."""


def concrete_int(size: Any) -> int:
    """Size as a plain int; a symbolic size counts as its value at capture time (batch 2).

    A size that depends on the data (how many examples an expert gets) counts as
    :data:`UNKNOWN_SIZE`: channels never lie along it, so any number will do.
    """
    if not isinstance(size, torch.SymInt):
        return int(size)
    hint = size.node.hint
    if hint is None:
        known = size.node.shape_env.backed_var_to_val
        expression = size.node.expr
        values = {s: known.get(s, UNKNOWN_SIZE) for s in expression.free_symbols}
        hint = expression.xreplace(values)
    return int(hint)


def is_free(size: Any) -> bool:
    """Whether a size may vary; a symbolic one may have been fixed by what the model does."""
    return isinstance(size, torch.SymInt) and bool(size.node.expr.free_symbols)


def concrete(argument: Any) -> Any:
    """Argument with nodes of symbolic integers and symbolic integers replaced by plain ints."""
    if isinstance(argument, fx.Node):
        value = argument.meta.get("val")
        return concrete(value) if isinstance(value, torch.SymInt | int | float | bool) else argument
    if isinstance(argument, torch.SymInt):
        return concrete_int(argument)
    if isinstance(argument, list | tuple):
        return type(argument)(concrete(item) for item in argument)
    return argument


def is_tensor(node: fx.Node) -> bool:
    """Whether the node's value is one tensor."""
    return isinstance(node.meta.get("val"), torch.Tensor)


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Concrete shape of a tensor node, symbolic sizes at their capture-time value."""
    sizes = node.meta["val"].shape
    return tuple([size if type(size) is int else concrete_int(size) for size in sizes])


def is_empty(node: fx.Node) -> bool:
    """Whether a tensor surely has no elements; how many it has may depend on the values."""
    return is_tensor(node) and any(
        statically_known_true(size == 0) for size in node.meta["val"].shape
    )


def static_dims(node: fx.Node) -> tuple[bool, ...]:
    """For each dimension of a tensor node, whether its size is fixed (not symbolic)."""
    return tuple(not is_free(size) for size in node.meta["val"].shape)


_SHAPES_ONLY = {"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"}
_SHAPES_ONLY |= {"new_zeros", "new_ones", "new_full", "new_empty", "sym_size", "sym_numel"}
_SHAPE_OF_SECOND = {"expand_as", "view_as", "reshape_as", "type_as"}


def read_by(node: fx.Node) -> list[fx.Node]:
    """Inputs of a call of which more than the shape and type is used."""
    packet = getattr(node.target, "_overloadpacket", None)
    name = packet.__name__ if packet is not None else ""
    if name in _SHAPES_ONLY:
        return []
    return node.all_input_nodes[: 1 if name in _SHAPE_OF_SECOND else None]


def source_line(node: fx.Node) -> str:
    """The line of the user's model that made this node, as ``file:line, code`` or "" if unknown."""
    trace = node.meta.get("stack_trace")
    if not isinstance(trace, str) or not trace.strip():
        return ""
    lines = [line.strip() for line in trace.strip().splitlines()]
    frames = [i for i, line in enumerate(lines) if line.startswith("File ")]
    if not frames:
        return lines[-1]
    # The innermost frame that is not torch's own: that is the line a user can act on.
    own = [i for i in frames if "/torch/" not in lines[i].replace("\\", "/")] or frames
    where = lines[own[-1]].removeprefix("File ").replace('"', "").replace(", line ", ":")
    code = lines[own[-1] + 1] if own[-1] + 1 < len(lines) else ""
    return f"{where}: {code}" if code and not code.startswith("File ") else where


def get_tensor(module: torch.nn.Module, target: str) -> torch.Tensor:
    """The parameter, buffer or tensor attribute of a dotted name."""
    owner, name = _owner(module, target)
    found = owner._parameters.get(name)
    if found is None:
        found = getattr(owner, name)
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"{target} is no tensor")
    return found


def _owner(module: torch.nn.Module, target: str) -> tuple[Any, str]:
    """The submodule that has a dotted name, and its last part."""
    owner: Any = module
    *path, name = target.split(".")
    for part in path:  # nn.Module's own search of its parts takes several times as long
        child = owner._modules.get(part)
        owner = getattr(owner, part) if child is None else child
    return owner, name


def constant_of(node: Any) -> torch.Tensor | None:
    """The tensor that a graph reads and nobody trains; None for parameters and computed values."""
    if not isinstance(node, fx.Node) or node.op != "get_attr" or not is_tensor(node):
        return None
    module = node.graph.owning_module
    if module is None:
        return None
    tensor = get_tensor(module, str(node.target))
    fake = isinstance(tensor, torch.nn.Parameter | torch._subclasses.FakeTensor)
    return None if fake or tensor.is_meta else tensor.detach()


def set_tensor(module: torch.nn.Module, target: str, value: torch.Tensor) -> None:
    """Replace the tensor of a dotted name, keeping its kind (parameter, buffer, attribute).

    A parameter given is set as it is, so that several names can be tied to it.
    """
    owner, name = _owner(module, target)
    old = getattr(owner, name)
    if isinstance(old, torch.nn.Parameter) and not isinstance(value, torch.nn.Parameter):
        value = torch.nn.Parameter(value, requires_grad=old.requires_grad)
    setattr(owner, name, value)
