"""Insert switches: multiply activations by the importance switch of their channel group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import fx, nn
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.errors import PassError
from graphprune.graph.aliases import Aliases
from graphprune.graph.schema import get_argument, set_argument
from graphprune.graph.values import is_free, shape_of
from graphprune.passes.base import GraphPass
from graphprune.switches.affine import affine_index, affine_operands
from graphprune.switches.gather import ScaleGatherer
from graphprune.switches.sites import SwitchSite, group_sizes

SWITCHES = "switches"


def switch_key(group: str) -> str:
    """Key of a group's switch in ``module.switches``.

    Module names cannot hold dots, nor be those of a method (a parameter may be named ``items``).
    """
    return f"of_{group.replace('.', '__')}"


@dataclass(frozen=True, eq=False)
class InsertSwitches(GraphPass):
    """Multiply the value of each site's node by its group's switch (eq. 2).

    The result's ``module.switches`` is an ``nn.ModuleDict`` of the given modules. Each is called
    once per forward pass and returns the scale, float (D,) or, for one draw per example, (B, D),
    whose dimension 0 then broadcasts with dimension 0 of the value.

    Where the node is a normalisation with an affine part and the switch gives one scale for the
    whole batch, weight and bias are multiplied instead of the activations: the same value at
    nearly no cost. Elsewhere the product is a new tensor; in-place operators that follow then act
    on the product.

    Attributes:
        sites: where to multiply.
        switches: group name to switch module. A module with a true ``per_example`` attribute is
            taken to return (B, D).
    """

    name: ClassVar[str] = "insert-switches"
    sites: tuple[SwitchSite, ...] = ()
    switches: Mapping[str, nn.Module] = field(default_factory=dict)

    def requires(self, graph_module: fx.GraphModule) -> None:
        """Refuse sites that do not fit the graph, groups without a switch and name clashes.

        Raises:
            PassError: naming the site or group.
        """
        if hasattr(graph_module, SWITCHES):
            raise PassError(
                f"insert-switches: the module already has an attribute '{SWITCHES}'; "
                "insert all switches at once, into a graph without them"
            )
        keys: dict[str, str] = {}
        for group in self.switches:
            other = keys.setdefault(switch_key(group), group)
            if other != group:
                raise PassError(f"insert-switches: groups '{other}' and '{group}' share one key")
        nodes = {node.name: node for node in graph_module.graph.nodes}
        aliases = Aliases(graph_module.graph)
        for site in self.sites:
            if site.group not in self.switches:
                raise PassError(f"insert-switches: no switch given for group '{site.group}'")
            if site.node not in nodes:
                raise PassError(f"insert-switches: the graph has no node '{site.node}'")
            node = nodes[site.node]
            _check_index(site, node, self.switches[site.group])
            conflict = None if _foldable(node, site, self.switches) else aliases.conflict(node)
            if conflict is not None:
                raise PassError(
                    f"insert-switches: '{site.node}' shares memory with '{conflict.name}', changed "
                    "in place and read later; put the switch where the value is made"
                )

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Insert in place; ``modified`` is False only when there are no sites."""
        if not self.sites:
            return PassResult(graph_module, False)
        used = {site.group for site in self.sites}
        graph_module.add_submodule(
            SWITCHES,
            nn.ModuleDict({switch_key(g): s for g, s in self.switches.items() if g in used}),
        )
        graph = graph_module.graph
        nodes = {node.name: node for node in graph.nodes}
        first = next(n for n in graph.nodes if n.op not in ("placeholder", "get_attr"))
        sizes = group_sizes(self.sites)
        sizes.update({g: getattr(self.switches[g], "size", size) for g, size in sizes.items()})
        gatherer = ScaleGatherer(graph_module, self._scales(graph, first), sizes)
        for site in self.sites:
            node = nodes[site.node]
            if _foldable(node, site, self.switches):
                _fold(gatherer, site, node)
            else:
                # A parameter or input stands ahead of the switches: multiply it behind them.
                following = node.next if node.op == "call_function" else first
                _multiply(gatherer, site, node, following)
        graph.lint()
        graph_module.recompile()
        return PassResult(graph_module, True)

    def _scales(self, graph: fx.Graph, first: fx.Node) -> dict[str, fx.Node]:
        """One call of each group's switch, ahead of ``first``."""
        scales: dict[str, fx.Node] = {}
        with graph.inserting_before(first):
            for site in self.sites:
                if site.group not in scales:
                    target = f"{SWITCHES}.{switch_key(site.group)}"
                    scales[site.group] = graph.call_module(target)
        return scales


def _check_index(site: SwitchSite, node: fx.Node, switch: nn.Module) -> None:
    index = site.index
    where = f"insert-switches: site '{site.node}' of group '{site.group}'"
    if index.dtype != torch.int64 or index.numel() == 0 or int(index.min()) < -1:
        raise PassError(f"{where}: the index must hold int64 channel numbers or -1")
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        raise PassError(f"{where}: its value is not known to be a tensor")
    if not (value.dtype.is_floating_point or value.dtype.is_complex):
        raise PassError(f"{where}: its value is {value.dtype}, only floats can be scaled")
    fits = index.ndim == value.ndim and all(
        size == 1 or size == full for size, full in zip(index.shape, shape_of(node), strict=False)
    )
    by_example = getattr(switch, "per_example", False)
    if not fits or (by_example and index.ndim > 0 and index.shape[0] != 1):
        raise PassError(
            f"{where}: an index of shape {tuple(index.shape)} does not fit a value of shape "
            f"{shape_of(node)} (where examples have scales of their own, dimension 0 is the batch "
            "and must be of size 1)"
        )
    if any(n > 1 and is_free(size) for n, size in zip(index.shape, value.shape, strict=True)):
        raise PassError(f"{where}: the index varies along a dimension that grows with the batch")


def _foldable(node: fx.Node, site: SwitchSite, switches: Mapping[str, nn.Module]) -> bool:
    if getattr(switches[site.group], "per_example", False):
        return False
    return affine_index(node, site.index) is not None


def _fold(gatherer: ScaleGatherer, site: SwitchSite, node: fx.Node) -> None:
    index = affine_index(node, site.index)
    assert index is not None
    scale = gatherer.gather(site.group, index, before=node, batched=False)
    for name in affine_operands(node):
        operand = get_argument(node, name)
        set_argument(node, name, _product(operand, scale, before=node))


def _multiply(gatherer: ScaleGatherer, site: SwitchSite, node: fx.Node, following: fx.Node) -> None:
    batched = site.index.ndim == 0 or site.index.shape[0] == 1
    scale = gatherer.gather(site.group, site.index, before=following, batched=batched)
    product = _product(node, scale, before=following)
    own = {product, *product.all_input_nodes}
    node.replace_all_uses_with(product, delete_user_cb=lambda user: user not in own)


def _product(value: fx.Node, scale: fx.Node, before: fx.Node) -> fx.Node:
    """``value * scale`` in the type of the value (which autocast may have made bfloat16)."""
    with before.graph.inserting_before(before):
        typed = before.graph.call_function(torch.ops.aten.type_as.default, (scale, value))
        product = before.graph.call_function(torch.ops.aten.mul.Tensor, (value, typed))
    product.meta.update({k: v for k, v in value.meta.items() if k == "val"})
    return product
