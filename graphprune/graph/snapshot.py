"""What a graph module looked like at one moment, to tell later whether it has been changed."""

from __future__ import annotations

import operator
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

# A tensor with the version counter it had: in-place writes raise the counter.
_Versioned = tuple[torch.Tensor, int]


@dataclass(frozen=True)
class Snapshot:
    """The graphs, modules and tensors of a module, held so that they can be compared later.

    Node metadata (``node.meta``) is not part of it: it describes the graph and does not run.
    The tensors are held, not copied, so taking a snapshot is cheap.

    Attributes:
        graphs: by name of the submodule, what runs.
        modules: by name, kind, mode and options.
        tensors: parameters and buffers by name.
        contents: checksums of these, where they were asked for.
    """

    graphs: dict[str, list[Any]]
    modules: dict[str, tuple[Any, ...]]
    tensors: dict[str, _Versioned]
    contents: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @classmethod
    def take(cls, module: nn.Module, *, contents: bool = False) -> Snapshot:
        """Record ``module``: its graphs, submodules, parameters and buffers.

        Args:
            module: held, not copied.
            contents: read all values, for :meth:`new_contents`; about half a second for a GB.
        """
        submodules = dict(module.named_modules(remove_duplicate=False))
        tensors = {
            name: tensor
            for named in (module.named_parameters, module.named_buffers)
            for name, tensor in named(remove_duplicate=False)
        }
        return cls(
            graphs={
                name: _graph_lines(submodule.graph)
                for name, submodule in submodules.items()
                if isinstance(submodule, fx.GraphModule)
            },
            modules={
                # A GraphModule makes itself a class of its own, so its type says nothing.
                name: (
                    None if isinstance(submodule, fx.GraphModule) else type(submodule),
                    submodule.training,
                    submodule.extra_repr(),
                )
                for name, submodule in submodules.items()
            },
            tensors={name: (tensor, _version(tensor)) for name, tensor in tensors.items()},
            contents={n: _content(tensor) for n, tensor in tensors.items()} if contents else {},
        )

    def changes_to(self, after: Snapshot) -> list[str]:
        """What differs in ``after``, a later snapshot of the same module; empty: nothing does.

        A tensor has changed where another object took its place or it was written to in place.
        Writes through ``tensor.data`` leave no trace here; :meth:`differences_from` sees them.
        """

        def same(old: _Versioned, new: _Versioned) -> bool:
            return old[0] is new[0] and old[1] == new[1]

        return self._compare(after, same)

    def new_contents(self, after: Snapshot) -> list[str]:
        """What differs in ``after``, a later snapshot of the same module; both have contents.

        Other than :meth:`changes_to` this sees every write, also through ``tensor.data`` or NumPy,
        and none where a tensor has its old values back.
        """
        return [
            *self._outside(after),
            *_differing("tensor", self.contents, after.contents, operator.eq),
        ]

    def differences_from(self, after: Snapshot) -> list[str]:
        """What differs in ``after``, a snapshot of a separate copy, by comparing all contents."""

        def same(old: _Versioned, new: _Versioned) -> bool:
            return _equal(old[0], new[0])

        return self._compare(after, same)

    def _compare(
        self, after: Snapshot, same_tensor: Callable[[_Versioned, _Versioned], bool]
    ) -> list[str]:
        return [
            *self._outside(after),
            *_differing("tensor", self.tensors, after.tensors, same_tensor),
        ]

    def _outside(self, after: Snapshot) -> list[str]:
        """What differs but for tensors."""
        return [
            *_differing("graph", self.graphs, after.graphs, operator.eq),
            *_differing("module", self.modules, after.modules, operator.eq),
        ]


def _differing(
    kind: str, before: dict[str, Any], after: dict[str, Any], same: Callable[[Any, Any], bool]
) -> list[str]:
    return [
        f"{kind} {name!r}" if name else f"the {kind}"
        for name in {**before, **after}
        if name not in before or name not in after or not same(before[name], after[name])
    ]


class _Arguments:
    """A call's arguments, which torch.fx replaces and never changes; written out if compared."""

    def __init__(self, node: fx.Node) -> None:
        self._given = (node.args, node.kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Arguments):
            return NotImplemented
        pairs = zip(self._given, other._given, strict=True)
        return all(one is two or repr(one) == repr(two) for one, two in pairs)

    __hash__ = None  # type: ignore[assignment]


def _graph_lines(graph: fx.Graph) -> list[Any]:
    lines: list[Any] = [(node.op, node.name, node.target, _Arguments(node)) for node in graph.nodes]
    # How inputs and outputs are packed (a pytree codegen) is part of what the module is.
    return [*lines, repr(getattr(graph._codegen, "pytree_info", None))]


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # inference tensors have no counter


def _content(tensor: torch.Tensor) -> tuple[Any, ...]:
    kind = (tensor.dtype, tuple(tensor.shape), tensor.requires_grad)
    if tensor.is_meta:
        return kind
    if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.layout is not torch.strided:
        return (*kind, id(tensor), _version(tensor))  # not everybody's values can be read as bytes
    values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return (*kind, zlib.crc32(values.view(torch.uint8).numpy().data))


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first.requires_grad != second.requires_grad:
        return False
    try:
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
    except AssertionError:
        return False
    return True
