"""Learned scales put into the weights: the switched network as a plain one."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import fx, nn

from graphprune.capturing.capture import Captured
from graphprune.graph.schema import get_argument
from graphprune.shrinking.rewrite import retrace_shapes
from graphprune.switches.affine import affine_index, affine_operands
from graphprune.switches.gather import laid_out
from graphprune.switches.sites import SwitchSite


def fold_scales(
    captured: Captured,
    sites: Sequence[SwitchSite],
    scales: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor],
) -> Captured:
    """A copy of ``captured`` that computes what the switched network does with fixed scales.

    Where a site is a normalisation whose weight and bias nothing else reads, these are multiplied;
    so is a parameter that is a site itself. Elsewhere a parameter of the site's shape is
    multiplied with the value.

    Args:
        captured: the model without switches.
        sites: where the switches multiplied.
        scales: group to the scale of its channels, (D,).
        weights: parameters and buffers by name, as they were trained along with the switches.
    """
    module = copy.deepcopy(captured.module)
    module.load_state_dict(weights)
    nodes = {node.name: node for node in module.graph.nodes}
    readers = _readers(module.graph)
    with torch.no_grad():
        for site in sites:
            node, scale = nodes[site.node], scales[site.group].float().cpu()
            index = affine_index(node, site.index)
            operands = [get_argument(node, name) for name in affine_operands(node)]
            if index is not None and all(_own(operand, readers) for operand in operands):
                for operand in operands:
                    module.get_parameter(operand.target).mul_(laid_out(scale, index))
            elif _own(node, readers):
                module.get_parameter(str(node.target)).mul_(laid_out(scale, site.index))
            else:
                _multiply(module, node, laid_out(scale, site.index))
    module.graph.lint()
    module.recompile()
    retrace_shapes(module)
    return replace(captured, module=module.eval())


def _readers(graph: fx.Graph) -> dict[str, int]:
    """How many calls read each attribute of the module."""
    found: dict[str, int] = defaultdict(int)
    for node in graph.find_nodes(op="get_attr"):
        found[str(node.target)] += len(node.users)
    return found


def _own(operand: object, readers: Mapping[str, int]) -> bool:
    is_attribute = isinstance(operand, fx.Node) and operand.op == "get_attr"
    return is_attribute and readers[str(operand.target)] == 1  # type: ignore[attr-defined]


def _multiply(module: fx.GraphModule, node: fx.Node, scale: torch.Tensor) -> None:
    number = 0
    while hasattr(module, f"switch_scale_{number}"):
        number += 1
    name = f"switch_scale_{number}"
    dtype = node.meta["val"].dtype
    module.register_parameter(name, nn.Parameter(scale.to(dtype)))
    following = node.next if node.op == "call_function" else None
    first = next(n for n in module.graph.nodes if n.op not in ("placeholder", "get_attr"))
    with module.graph.inserting_before(following or first):
        attribute = module.graph.get_attr(name)
        product = module.graph.call_function(torch.ops.aten.mul.Tensor, (node, attribute))
    node.replace_all_uses_with(product, delete_user_cb=lambda user: user is not product)
