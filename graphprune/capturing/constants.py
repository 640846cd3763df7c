"""Questions that a model asks of tensors while it is captured, where the inputs have no say.

``if (mask == causal_mask).all():`` has no answer while tensors are symbolic, and torch.export gives
up. But a mask that the model made itself is the same for every input: then the answer is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode, get_proxy_slot
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

_QUESTIONS = frozenset(
    (
        *("__bool__", "__int__", "__float__", "__index__", "__contains__"),
        *("item", "tolist", "numpy", "equal", "allclose"),
    )
)

_TAKE_SIZES = frozenset(
    (
        *("permute", "view", "reshape", "expand", "repeat", "transpose", "movedim", "narrow"),
        *("select", "unflatten", "tile", "roll", "new_zeros", "new_ones", "zeros", "ones"),
    )
)
"""Functions whose arguments, but for the first, are sizes and dimensions, never values."""

LARGEST = 2**22
"""Elements of a tensor beyond which it is not computed for the sake of a question."""


class AnswerConstants(TorchFunctionMode):
    """While a model is traced, answer questions about tensors that no input has a part in.

    What is asked about is computed from the traced graph itself, of real numbers. Whatever depends
    on an input, a parameter or chance, or is written into in place, is left to torch.export.

    Args:
        model: the model that is traced; its buffers are constants.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        parameters = dict(model.named_parameters(remove_duplicate=False))
        buffers = dict(model.named_buffers(remove_duplicate=False))
        self._tensors = [*parameters.values(), *buffers.values()]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer, or pass the call on."""
        if getattr(func, "__name__", "") in _QUESTIONS:
            given, tree = pytree.tree_flatten((args, kwargs or {}))
            known = [self._value(one) if isinstance(one, torch.Tensor) else one for one in given]
            if not any(one is None for one in known):
                known_args, known_kwargs = pytree.tree_unflatten(known, tree)
                with _disable_current_modes(), torch._C.DisableTorchFunction():
                    return func(*known_args, **known_kwargs)
        if getattr(func, "__name__", "") in _TAKE_SIZES:
            args = (*args[:1], *pytree.tree_map_only(torch.Tensor, self._number, args[1:]))
        return func(*args, **(kwargs or {}))

    def _number(self, tensor: torch.Tensor) -> Any:
        """The whole number that a tensor of one is; the tensor itself where it is not known."""
        if tensor.numel() != 1 or tensor.dtype.is_floating_point:
            return tensor
        known = self._value(tensor)
        return tensor if known is None else int(known)

    def _value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The real tensor behind a traced one; None where it is not known."""
        mode = get_proxy_mode()
        if mode is None:
            return None
        slot = get_proxy_slot(tensor, mode.tracer, None)
        node = getattr(getattr(slot, "proxy", None), "node", None)
        if not isinstance(node, fx.Node):
            return None
        order = _made_of(node)
        if order is None:
            return None
        given = self._buffers(node.graph)
        values: dict[fx.Node, Any] = {}
        with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
            for one in order:
                if one.op == "placeholder" and one in given:
                    values[one] = given[one]
                elif one.op == "get_attr":
                    values[one] = getattr(getattr(mode.tracer, "root", None), str(one.target), None)
                elif one.op == "call_function":
                    arguments, named = fx.node.map_arg((one.args, one.kwargs), values.__getitem__)
                    values[one] = one.target(*arguments, **named)  # type: ignore[operator]
                if not _is_small_and_real(values.get(one)):
                    return None
        return values[node]  # type: ignore[no-any-return]

    def _buffers(self, graph: fx.Graph) -> dict[fx.Node, torch.Tensor]:
        """Buffers by placeholder: torch.export puts parameters and buffers before the inputs."""
        placeholders = graph.find_nodes(op="placeholder")[: len(self._tensors)]
        if len(placeholders) < len(self._tensors):
            return {}
        pairs = list(zip(placeholders, self._tensors, strict=True))
        if any(_kind(node.meta.get("val")) != _kind(tensor) for node, tensor in pairs):
            return {}
        return {node: one for node, one in pairs if not isinstance(one, nn.Parameter)}


def _kind(tensor: Any) -> tuple[Any, ...]:
    if not isinstance(tensor, torch.Tensor):
        return ()
    return (tuple(tensor.shape), tensor.dtype)


def _made_of(node: fx.Node) -> list[fx.Node] | None:
    """All that a node is computed from, in order; None if any of it is random or written into."""
    found = {node}
    pending = [node]
    while pending:
        for source in pending.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                pending.append(source)
    for one in found:
        if torch.Tag.nondeterministic_seeded in getattr(one.target, "tags", ()):
            return None
        for target in [one.target, *(user.target for user in one.users)]:
            if isinstance(target, torch._ops.OpOverload) and _writes(target):
                return None
    return [one for one in node.graph.nodes if one in found]


def _writes(target: torch._ops.OpOverload) -> bool:
    """Whether it changes values; ``detach_``, with which ``torch.tensor`` ends, does not."""
    return target._schema.is_mutable and target is not torch.ops.aten.detach_.default


def _is_small_and_real(value: Any) -> bool:
    """Whether it is a tensor, or several as of ``unbind``, with numbers and few of them."""
    if isinstance(value, tuple | list):
        return all(_is_small_and_real(one) for one in value)
    kind = torch._subclasses.FakeTensor
    if not isinstance(value, torch.Tensor) or isinstance(value, kind) or value.is_meta:
        return False
    return value.numel() <= LARGEST
