"""Operators that draw random numbers: which do, and how two runs come to draw alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from graphprune.graph.schema import get_argument, has_argument
from graphprune.graph.values import concrete

_SEED = 0


def draws(node: fx.Node) -> bool:
    """Whether a call draws random numbers; dropout and its kind do while they are switched on."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if has_argument(node, "dropout_p"):
        return float(concrete(get_argument(node, "dropout_p"))) > 0
    flags = [name for name in ("train", "training") if has_argument(node, name)]
    if flags and "dropout" in node.target.name():
        return bool(get_argument(node, flags[0]))
    if torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    return all(bool(get_argument(node, name)) for name in flags)


@contextmanager
def same_chance() -> Iterator[None]:
    """While open, random numbers begin where they begin every time; afterwards, where they were.

    They also come in the order of the elements, not in that of the memory, which may differ from
    one model to its equal: a convolution lays its result out as it likes.
    """
    with torch.random.fork_rng(), _InOrder():
        torch.manual_seed(_SEED)
        yield


class _InOrder(TorchDispatchMode):
    """Random numbers for tensors of any layout are those for contiguous ones."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Compiled functions in a model, flex_attention for one, still compile beneath it."""
        return True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Draw, or pass the call on."""
        kwargs = kwargs or {}
        tags = getattr(func, "tags", ())
        if torch.Tag.nondeterministic_seeded not in tags:
            return func(*args, **kwargs)
        given = pytree.tree_map_only(torch.Tensor, torch.Tensor.contiguous, (args, kwargs))
        if func._schema.is_mutable:
            if "out" in kwargs:
                return func(*args, **kwargs)
            func(*given[0], **given[1])
            return args[0].copy_(given[0][0])
        if any(argument.name == "memory_format" for argument in func._schema.arguments):
            given[1]["memory_format"] = torch.contiguous_format
        return func(*given[0], **given[1])
