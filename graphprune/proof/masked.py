"""The masked reference: the whole graph, with removed channels held at zero.

It is the oracle of every shrink. Removed elements are set to zero after each operation, so that
contractions over them add nothing; operations whose value depends on how many elements there are
(means, norms) are computed over the kept ones alone, by their rule's ``masked``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.analysis.groups import Analysis
from graphprune.errors import CertificateError
from graphprune.graph.values import is_free, is_tensor, shape_of
from graphprune.labels.lengths import of_length
from graphprune.labels.slots import Labels
from graphprune.rules.movement import is_view
from graphprune.rules.table import find_rule
from graphprune.shrinking.keep import Keep


class MaskedValues:
    """Masks of the nodes of one graph under one Keep."""

    def __init__(self, analysis: Analysis, keep: Keep) -> None:
        self._context = analysis.context
        self._keep = keep
        self._masks: dict[fx.Node, torch.Tensor] = {}
        self._inputs = analysis.module.graph.find_nodes(op="placeholder")
        self._sizes: dict[Any, int] = {}

    def take_sizes(self, inputs: Sequence[Any]) -> None:
        """Note what these inputs make of the symbolic sizes, such as the batch."""
        sizes: dict[Any, int] = {}
        for node, given in zip(self._inputs, inputs, strict=True):
            if isinstance(given, torch.Tensor):
                pairs = zip(node.meta["val"].shape, given.shape, strict=True)
                sizes |= {s.node.expr: n for s, n in pairs if is_free(s)}
        if sizes != self._sizes:
            self._sizes = sizes
            self._masks.clear()

    def keep(self, node: Any) -> torch.Tensor:
        """Bool mask of kept elements of a node's value; broadcasts against it."""
        if node not in self._masks:
            value = node.meta["val"]
            mask = self._keep.mask(self._context.of(node), shape_of(node))
            if bool(mask.all()):  # of however many elements there are
                mask = mask.new_ones((1,) * mask.ndim)
            for dim, size in enumerate(value.shape):
                if is_free(size) and mask.shape[dim] > 1:
                    mask = _at_run_size(mask, dim, self._known(size, node), size)
            self._masks[node] = mask.to(value.device)
        return self._masks[node]

    def _known(self, size: Any, node: Any) -> int:
        if size.node.expr.free_symbols - self._sizes.keys():
            raise CertificateError(
                f"{node.name}: channels lie along a size that depends on the data, so what is "
                "removed there cannot be checked; leave the layers before it out of the model"
            )
        return int(size.node.expr.xreplace(self._sizes))

    def labels(self, node: Any) -> Labels:
        """Labels of a node's value."""
        return self._context.of(node)

    def removes(self, node: fx.Node) -> bool:
        """Whether any element of the node's value is removed."""
        return not bool(self.keep(node).all())


def _at_run_size(mask: torch.Tensor, dim: int, length: int, size: Any) -> torch.Tensor:
    """The mask as long as the value is on these inputs.

    Raises:
        CertificateError: its dimension mixes channels and batch, neither of them outside.
    """
    longer = of_length(mask, dim, length, size)
    if longer is None:
        raise CertificateError(
            f"certificate failed: channels and batch are mixed in a dimension of "
            f"{mask.shape[dim]}, which cannot be made {length} long; give example inputs of batch 2"
        )
    return longer


class MaskedReference(fx.Interpreter):
    """Runs a captured graph as if the removed channels were not there.

    Args:
        analysis: of the graph to run.
        keep: which channels stay.
        tensors: full-size values by qualified name to use in place of the graph's own.
    """

    def __init__(
        self, analysis: Analysis, keep: Keep, tensors: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        super().__init__(analysis.module)
        self.values = MaskedValues(analysis, keep)
        self._tensors = dict(tensors or {})

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A parameter or buffer: the replacement given, else the graph's own."""
        if target in self._tensors:
            return self._tensors[target]
        return super().get_attr(target, args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Outputs of the model's own structure, for inputs as the model takes them."""
        with torch.no_grad():
            leaves = pytree.tree_leaves((args, kwargs))
            self.values.take_sizes(leaves)
            flat = self.run(*leaves, enable_io_processing=False)
        return self.graph._codegen.process_outputs(flat)

    def run_node(self, node: fx.Node) -> Any:
        """Run one node, then hold what is removed of its value at zero."""
        rule = find_rule(node.target) if node.op == "call_function" else None
        if rule is not None and rule.masked is not None:
            args, kwargs = self.fetch_args_kwargs_from_env(node)
            result = rule.masked(self.values, node, args, kwargs)
        else:
            result = super().run_node(node)
        if node.op not in ("call_function", "get_attr") or not is_tensor(node):
            return result
        if not self.values.removes(node):
            return result
        gone = ~self.values.keep(node).to(result.device)
        if node.op == "call_function" and _writes_in_place(node.target):
            return result.masked_fill_(gone, 0)
        if is_view(node.target):
            return result  # of what is masked already; a copy would cut later in-place writes off
        return result.masked_fill(gone, 0)


def _writes_in_place(target: Any) -> bool:
    if not isinstance(target, torch._ops.OpOverload) or not target._schema.returns:
        return False
    alias = target._schema.returns[0].alias_info
    return alias is not None and bool(alias.is_write)
