"""New fake values after shrinking: the graph is run on meta tensors at the captured batch.

Fake tensors with symbolic sizes cost milliseconds for each call, meta tensors microseconds, and
both run the same shape functions. What is symbolic is carried over from the values before:
shrinking scales a size, it never makes another out of it. The new values are dense, in the order of
dimensions that the call gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.rewrite import retrace_shapes
from graphprune.values import concrete

_META = torch.device("meta")


def refresh_shapes(module: fx.GraphModule) -> None:
    """Recompute every node's fake value after its tensors and sizes have shrunk.

    Where meta tensors cannot tell, this is :func:`graphprune.rewrite.retrace_shapes`.

    Raises:
        PassError: the rewritten graph does not fit together.
    """
    try:
        run = _MetaRun(module)
        with torch.no_grad():
            run.run(*run.inputs(), enable_io_processing=False)
    except Exception:  # noqa: BLE001 - any op may refuse meta tensors; the slow road tells why
        retrace_shapes(module)
        return
    for node, value in run.values.items():
        node.meta["val"] = value


class _Unclear(Exception):  # noqa: N818 - a signal within this file
    """A value from which the new symbolic size does not follow."""


class _MetaRun(fx.Interpreter):
    """Runs a graph on meta tensors and collects a fake value for each node.

    Attributes:
        values: by node.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[fx.Node, Any] = {}
        self._fakes: dict[Any, torch.Tensor] = {}
        self._results: dict[Any, Any] = {}

    def inputs(self) -> list[Any]:
        """Meta tensors and plain numbers like the values of the placeholders."""
        nodes = self.graph.find_nodes(op="placeholder")
        return [pytree.tree_map(_plain, node.meta.get("val")) for node in nodes]

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, its tensors on the meta device."""
        result = pytree.tree_map_only(torch.Tensor, _on_meta, super().run_node(n))
        if n.op == "call_function" or (n.op == "get_attr" and "val" in n.meta):
            old, tree = pytree.tree_flatten(n.meta["val"])
            new = pytree.tree_leaves(result)
            leaves = [self._carried(a, b) for a, b in zip(old, new, strict=True)]
            self.values[n] = pytree.tree_unflatten(leaves, tree)
        return result

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call it, once for each combination of shapes; every device in its arguments is meta."""
        args, kwargs = pytree.tree_map_only(torch.device, lambda _: _META, (args, kwargs))
        if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
            return super().call_function(target, args, kwargs)
        leaves, tree = pytree.tree_flatten((args, kwargs))
        key = (target, tree, *(_described(leaf) for leaf in leaves))
        if key not in self._results:
            result = super().call_function(target, args, kwargs)
            self._results[key] = pytree.tree_map_only(torch.Tensor, _on_meta, result)
        return pytree.tree_map_only(torch.Tensor, _anew, self._results[key])

    def _carried(self, old: Any, new: Any) -> Any:
        """The old fake value with the new sizes."""
        if isinstance(old, torch.SymInt) and not isinstance(new, torch.Tensor):
            return _scaled(old, int(new))
        if not isinstance(old, torch.Tensor) or not isinstance(new, torch.Tensor):
            return new
        before = [concrete(size) for size in old.shape]
        if len(before) != new.ndim or old.dtype != new.dtype:
            raise _Unclear
        if before == list(new.shape):
            return old
        return self._fake(old, new)

    def _fake(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        mode = getattr(old, "fake_mode", None)
        if mode is None:
            raise _Unclear
        sizes = [_scaled(a, b) for a, b in zip(old.shape, new.shape, strict=True)]
        strides = new.stride()
        order = sorted(range(new.ndim), key=lambda dim: (-strides[dim], dim))
        named = tuple(s.node.expr if isinstance(s, torch.SymInt) else s for s in sizes)
        key = (named, tuple(order), new.dtype, old.device)
        if key not in self._fakes:
            with mode:
                self._fakes[key] = torch.empty_permuted(
                    sizes, order, dtype=new.dtype, device=old.device
                )
        return self._fakes[key]


def _plain(value: Any) -> Any:
    """A value that meta kernels take: concrete sizes, no data."""
    return _on_meta(value) if isinstance(value, torch.Tensor) else concrete(value)


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_meta and not isinstance(tensor, torch._subclasses.FakeTensor):
        return tensor
    sizes, strides = concrete(list(tensor.shape)), concrete(list(tensor.stride()))
    return torch.empty_strided(sizes, strides, dtype=tensor.dtype, device=_META)


def _anew(tensor: torch.Tensor) -> torch.Tensor:
    """Another meta tensor of the same layout, so that writes in place stay apart."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)


def _described(leaf: Any) -> Any:
    """What a meta kernel sees of an argument, hashable."""
    if isinstance(leaf, torch.Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype
    return type(leaf), leaf


def _scaled(old: Any, new: int) -> Any:
    """The size ``old``, which may be symbolic, once it has become ``new`` at the captured batch."""
    if not isinstance(old, torch.SymInt) or concrete(old) == new:
        return new if not isinstance(old, torch.SymInt) else old
    factor, rest = old.node.expr.as_coeff_Mul()
    scaled, remainder = divmod(int(factor) * new, concrete(old))
    if rest.is_Add or remainder:
        raise _Unclear
    return old.node.shape_env.create_symintnode(scaled * rest, hint=new)
