"""Single calls of operators: labelled by a rule or by the probe, and judged by force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from graphprune.graph.values import shape_of
from graphprune.labels.slots import Labels
from graphprune.rules.context import Context
from graphprune.rules.probe import Findings, probe
from graphprune.rules.probed import label_probed
from graphprune.rules.rule import NodeLabels
from graphprune.rules.trial import Signature, signature_of, tensor_nodes
from graphprune.shrinking.keep import Keep

aten = torch.ops.aten
T = torch.empty


def call(op: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """A graph node that calls ``op`` on parameters like the tensors among its arguments."""
    graph, root = fx.Graph(), torch.nn.Module()
    count = 0

    def leaf(value: Any) -> Any:
        nonlocal count
        if not isinstance(value, Tensor):
            return value
        name = f"w{count}"
        count += 1
        root.register_buffer(name, value)
        node = graph.get_attr(name)
        node.meta["val"] = value
        return node

    node = graph.call_function(op, *torch.utils._pytree.tree_map(leaf, (args, kwargs)))
    torch.manual_seed(0)
    node.meta["val"] = op(*torch.utils._pytree.tree_map(_real, args), **kwargs)
    return node


def _real(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value if value.dtype is torch.bool else torch.rand_like(value)


@dataclass
class Labelled:
    """A call's labels, by one way or the other; atoms of its arguments are the same in both."""

    context: Context
    node: fx.Node
    labels: list[Labels]

    @property
    def classes(self) -> np.ndarray:
        return self.context.store.roots()

    def free(self) -> np.ndarray:
        """Whether each atom may go, bool."""
        pinned = np.zeros(self.context.store.count, dtype=bool)
        for record in self.context.store.pins:
            pinned[self.classes[record.atoms.numpy()]] = True
        found: np.ndarray = ~pinned[self.classes]
        return found

    def random_keep(self, generator: torch.Generator) -> Keep:
        """Some of the free classes go, but never all along one dimension."""
        free = self.free()
        keep = np.ones(self.context.store.count + 1, dtype=bool)
        for argument in tensor_nodes(self.node):
            for slot in self.context.of(argument):
                atoms = slot.reshape(-1).numpy()
                drawn = torch.rand(atoms.size - 1, generator=generator).numpy() < 0.5
                for atom in atoms[1:][drawn]:
                    if free[atom]:
                        keep[:-1][self.classes == self.classes[atom]] = False
                if not keep[atoms].any():
                    keep[:-1][np.isin(self.classes, self.classes[atoms])] = True
        return Keep(torch.from_numpy(keep))


def labelled(node: fx.Node, rule: Callable[[Context, fx.Node], NodeLabels | str]) -> Labelled:
    """A call's labels by a rule, its arguments labelled like parameters; a str is why all stays."""
    context = Context()
    for argument in tensor_nodes(node):
        context.labels[argument] = context.leaf(shape_of(argument), argument.name)
    context.node = node
    found = rule(context, node)
    if isinstance(found, str):
        for argument in tensor_nodes(node):
            context.pin(context.of(argument), found)
        value = node.meta["val"]
        found = () if isinstance(value, Tensor) else [() for _ in value]
    return Labelled(context, node, list(found) if isinstance(found, list) else [found])


def probed(op: Any, *args: Any, **kwargs: Any) -> Findings | str:
    """What the probe finds for all dimensions of all arguments."""
    node = call(op, *args, **kwargs)
    signature = signature_of(node)
    if isinstance(signature, str):
        return signature
    return probe(signature, places(signature))


def places(signature: Signature) -> tuple[tuple[int, int], ...]:
    """All dimensions worth probing, as (tensor argument, dimension)."""
    return tuple(
        (number, dim)
        for number, tensor in enumerate(signature.tensors)
        for dim, size in enumerate(tensor.shape)
        if size > 1
    )


def check_by_force(node: fx.Node, draws: int = 4) -> int:
    """Remove random free classes, and compare with zeros in their place; how many went in all."""
    found = labelled(node, label_probed)
    signature = signature_of(node)
    if isinstance(signature, str):
        return 0
    arguments = tensor_nodes(node)
    generator = torch.Generator().manual_seed(99)
    removed = 0
    for _ in range(draws):
        keep = found.random_keep(generator)
        removed += int((~keep.atoms).sum())
        data = [
            torch.rand(t.shape, generator=generator) < 0.5
            if t.dtype is torch.bool
            else 3 * torch.randn(t.shape, generator=generator) + 0.5
            for t in signature.tensors
        ]
        labels = [found.context.of(n) for n in arguments]
        small = signature.run([keep.take(x, one) for x, one in zip(data, labels, strict=True)])
        masked = signature.run(
            [
                x.masked_fill(~keep.mask(one, tuple(x.shape)), 0)
                for x, one in zip(data, labels, strict=True)
            ]
        )
        assert small is not None
        assert masked is not None
        for have, want, one in zip(small, masked, found.labels, strict=True):
            torch.testing.assert_close(have, keep.take(want, one), equal_nan=True)
    return removed


def operator(function: Callable[..., Any], name: str, schema: str = "(Tensor x) -> Tensor") -> Any:
    """The function as an operator of torch, as another library would have it."""
    full = f"graphprune_probe::{name}"
    torch.library.define(full, schema)
    torch.library.impl(full, "CPU")(function)
    return getattr(torch.ops.graphprune_probe, name).default
