"""New fake values after shrinking: the graph is run on meta tensors at the captured batch.

Fake tensors with symbolic sizes cost milliseconds for each call, meta tensors microseconds, and
both run the same shape functions. What is symbolic is carried over from the values before:
shrinking scales a size, it never makes another out of it. The new values are dense, in the order of
dimensions that the call gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor

from graphprune.graph.values import concrete, concrete_int, get_tensor
from graphprune.rules.pointwise import is_pointwise
from graphprune.rules.table import find_rule
from graphprune.shrinking.rewrite import retrace_shapes

_META = torch.device("meta")


def refresh_shapes(module: fx.GraphModule) -> None:
    """Recompute every node's fake value after its tensors and sizes have shrunk.

    Where meta tensors cannot tell, this is :func:`graphprune.shrinking.rewrite.retrace_shapes`.

    Raises:
        PassError: the rewritten graph does not fit together.
    """
    try:
        with torch.no_grad():
            values = _MetaRun().values(module)
    except Exception:  # noqa: BLE001 - any op may refuse meta tensors; the slow road tells why
        retrace_shapes(module)
        return
    for node, value in values.items():
        node.meta["val"] = value


class _Unclear(Exception):  # noqa: N818 - a signal within this file
    """A value from which the new symbolic size does not follow."""


class _MetaRun:
    """Runs a graph on meta tensors and collects a fake value for each node."""

    def __init__(self) -> None:
        self._fakes: dict[Any, torch.Tensor] = {}
        self._results: dict[Any, Any] = {}

    def values(self, module: fx.GraphModule) -> dict[fx.Node, Any]:
        """New values of the graph's tensors and calls."""
        meta: dict[fx.Node, Any] = {}
        found: dict[fx.Node, Any] = {}
        for node in module.graph.nodes:
            old = node.meta.get("val")
            if node.op == "placeholder":
                meta[node] = _map_tensors(old, _on_meta, concrete)
            elif node.op == "get_attr":
                meta[node] = _on_meta(get_tensor(module, str(node.target)))
            elif node.op == "call_function":
                args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), meta.__getitem__)
                meta[node] = self._call(node.target, args, kwargs, old)
            elif node.op != "output":
                raise _Unclear
            if node.op == "call_function" or (node.op == "get_attr" and "val" in node.meta):
                found[node] = self._carried_tree(old, meta[node])
        return found

    def _call(self, target: Any, args: Sequence[Any], kwargs: dict[str, Any], old: Any) -> Any:
        """Call it, once for each combination of shapes."""
        if not isinstance(target, torch._ops.OpOverload):
            return target(*args, **kwargs)
        if torch.Tag.inplace_view in target.tags:
            raise _Unclear  # meta tensors are shared between calls
        key = (target, _described(args), _described(tuple(kwargs.items())))
        if key not in self._results:
            self._results[key] = self._result(target, args, kwargs, old)
        return self._results[key]

    def _result(self, target: Any, args: Sequence[Any], kwargs: dict[str, Any], old: Any) -> Any:
        like = _same_shape(target, args, kwargs)
        if like is not None and isinstance(old, torch.Tensor) and old.dtype == like.dtype:
            return like
        args, kwargs = _on_meta_device(args), _on_meta_device(kwargs)
        return _map_tensors(target(*args, **kwargs), _on_meta, lambda other: other)

    def _carried_tree(self, old: Any, new: Any) -> Any:
        if not isinstance(old, list | tuple):
            return self._carried(old, new)
        return type(old)(self._carried_tree(a, b) for a, b in zip(old, new, strict=True))

    def _carried(self, old: Any, new: Any) -> Any:
        """The old fake value with the new sizes."""
        if isinstance(old, torch.SymInt) and not isinstance(new, torch.Tensor):
            return _scaled(old, int(new))
        if not isinstance(old, torch.Tensor) or not isinstance(new, torch.Tensor):
            return new
        before, after = old.shape, new.shape
        if len(before) != len(after) or old.dtype != new.dtype:
            raise _Unclear
        if all(_at_capture(a) == b for a, b in zip(before, after, strict=True)):
            return old
        sizes = [_scaled(a, b) for a, b in zip(before, after, strict=True)]
        strides = new.stride()
        order = tuple(sorted(range(len(sizes)), key=lambda dim: (-strides[dim], dim)))
        named = tuple(s.node.expr if isinstance(s, torch.SymInt) else s for s in sizes)
        key = (named, order, old.dtype, old.device)
        if key not in self._fakes:
            mode = getattr(old, "fake_mode", None)
            if mode is None:
                raise _Unclear
            self._fakes[key] = FakeTensor(mode, _laid_out(new, sizes, order), old.device)
        return self._fakes[key]


def _laid_out(like: torch.Tensor, sizes: list[Any], order: tuple[int, ...]) -> torch.Tensor:
    """A dense meta tensor of these sizes with its dimensions in this order, outermost first.

    Symbolic sizes are multiplied with one another only where strides need it: torch takes a
    millisecond for that.
    """
    if any(isinstance(sizes[dim], torch.SymInt) for dim in order[1:]):
        return torch.empty_permuted(sizes, order, dtype=like.dtype, device=_META)
    strides = [1] * len(sizes)
    for outer, inner in reversed(list(itertools.pairwise(order))):
        strides[outer] = strides[inner] * max(sizes[inner], 1)
    memory = torch.empty(like.numel(), dtype=like.dtype, device=_META)
    return memory.as_strided(sizes, strides)


def _same_shape(target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """The argument whose shape and layout a call surely gives its result; None: it has to be run.

    So do element-wise calls on dense tensors, and affine maps of each channel whose other tensors
    fit. Of all shape functions theirs are the slow ones, written in Python.
    """
    tensors = list(_tensors((args, tuple(kwargs.values()))))
    if not tensors or not all(tensor.is_contiguous() for tensor in tensors):
        return None
    if is_pointwise(target):
        shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
        whole = next((tensor for tensor in tensors if tensor.shape == shape), None)
        return None if target._schema.is_mutable and whole is not args[0] else whole
    rule = find_rule(target)
    if rule is None or not rule.affine or tensors[0] is not args[0] or tensors[0].ndim < 2:
        return None
    rest = [*args[1:], *kwargs.values()]
    if any(isinstance(one, int) and not isinstance(one, bool) for one in rest):
        return None  # a number of groups, which has to divide something
    lists = [tuple(one) for one in rest if isinstance(one, list | tuple)]
    wanted = tensors[0].shape[-len(lists[0]) :] if lists else tensors[0].shape[1:2]
    fits = all(sizes == tuple(wanted) for sizes in lists)
    return tensors[0] if fits and all(t.shape == wanted for t in tensors[1:]) else None


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _on_meta_device(given: Any) -> Any:
    """Arguments with the meta device in place of any other."""
    if isinstance(given, dict):
        return {name: _on_meta_device(value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return type(given)(_on_meta_device(item) for item in given)
    return _META if isinstance(given, torch.device) else given


def _map_tensors(value: Any, tensor: Any, other: Any) -> Any:
    """A value, or a list or tuple of values, with its tensors and what else there is replaced."""
    if isinstance(value, list | tuple):
        return type(value)(_map_tensors(item, tensor, other) for item in value)
    return tensor(value) if isinstance(value, torch.Tensor) else other(value)


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_meta and not isinstance(tensor, FakeTensor):
        return tensor
    sizes = [_at_capture(size) for size in tensor.shape]
    strides = [_at_capture(stride) for stride in tensor.stride()]
    return torch.empty_strided(sizes, strides, dtype=tensor.dtype, device=_META)


def _described(value: Any) -> Any:
    """What a meta kernel sees of an argument, hashable."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_described, value))
    return type(value), value


def _at_capture(size: Any) -> int:
    return size if type(size) is int else concrete_int(size)


def _scaled(old: Any, new: int) -> Any:
    """The size ``old``, which may be symbolic, once it has become ``new`` at the captured batch."""
    if not isinstance(old, torch.SymInt):
        return new
    if concrete(old) == new:
        return old
    factor, rest = old.node.expr.as_coeff_Mul()
    scaled, remainder = divmod(int(factor) * new, concrete(old))
    if rest.is_Add or remainder:
        raise _Unclear
    return old.node.shape_env.create_symintnode(scaled * rest, hint=new)
