"""Normalise: bring a freshly exported graph into the form that the analysis and rewrites expect."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.aliases import Aliases, written_arguments
from graphprune.passes.base import GraphPass

aten = torch.ops.aten

_ASSERTIONS = (
    "_assert_async",
    "_assert_scalar",
    "_assert_tensor_metadata",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
)


@dataclass(frozen=True)
class Normalise(GraphPass):
    """Clean an exported graph without changing what it computes.

    1. guard calls and assertions, which repeat what capture has checked, are dropped;
    2. the bodies of no_grad and autocast regions are inlined;
    3. the default scale of scaled_dot_product_attention, which depends on the head size, is
       written out, so that shortening the heads later does not change it;
    4. the length that repeat_interleave is told, though it follows from what is repeated how often,
       is dropped: it would be that of before the cut;
    5. empty parts of concatenations are dropped: they have no element that could say which
       channels they hold;
    6. view becomes reshape: whether memory can be viewed depends on its layout, which other sizes,
       or another device's kernels, change. Where it can, reshape is that very view;
    7. outputs of a call with several that nobody reads are dropped: they may be scratch space whose
       size is the kernel's own affair;
    8. views that nobody reads, and writes into values that nobody reads afterwards (``set_()``, to
       free memory) are dropped;
    9. detach, which keeps gradients out, is dropped where there are none: from whole numbers;
    10. inputs that the model writes into are copied first: the caller's tensors stay as they are.

    Left alone: everything else. Unused parameters stay, so that the state dict keeps their names.
    """

    name: ClassVar[str] = "normalise"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether anything was found."""
        modified = False
        while _inline_regions(graph_module):
            modified = True
        modified |= _drop_assertions(graph_module)
        modified |= _write_out_attention_scale(graph_module)
        modified |= _drop_repeated_length(graph_module.graph)
        modified |= _drop_empty_parts(graph_module.graph)
        modified |= _copy_single_parts(graph_module.graph)
        modified |= _views_to_reshapes(graph_module.graph)
        modified |= _drop_unread_outputs(graph_module.graph)
        modified |= _drop_unread_writes(graph_module.graph)
        modified |= _drop_plain_detaches(graph_module.graph)
        modified |= _copy_written_inputs(graph_module.graph)
        if modified:
            graph_module.graph.lint()
            graph_module.recompile()
        return PassResult(graph_module, modified)


def _drop_assertions(graph_module: fx.GraphModule) -> bool:
    graph = graph_module.graph
    doomed = []
    for node in graph.nodes:
        guard = node.op == "call_module" and node.target == "_guards_fn"
        packet = getattr(node.target, "_overloadpacket", None)
        assertion = packet is not None and packet.__name__ in _ASSERTIONS
        if (guard or assertion) and not node.users:
            doomed.append(node)
    for node in reversed(doomed):
        graph.erase_node(node)
    if doomed:
        _drop_dead_symbols(graph)
    if hasattr(graph_module, "_guards_fn"):
        delattr(graph_module, "_guards_fn")
    return bool(doomed)


def _drop_dead_symbols(graph: fx.Graph) -> None:
    """Erase unused arithmetic on sizes that the assertions leave behind."""
    for node in reversed(list(graph.nodes)):
        value = node.meta.get("val")
        scalar = isinstance(value, torch.SymInt | torch.SymBool | torch.SymFloat | bool)
        if node.op == "call_function" and scalar and not node.users:
            graph.erase_node(node)


def _inline_regions(graph_module: fx.GraphModule) -> bool:
    """Inline one level of wrap_with_set_grad_enabled / wrap_with_autocast calls."""
    graph = graph_module.graph
    found = False
    for node in list(graph.nodes):
        kind = getattr(node.target, "__name__", "")
        if node.op != "call_function":
            continue
        if kind == "wrap_with_set_grad_enabled":
            body, inputs = node.args[1], node.args[2:]
        elif kind == "wrap_with_autocast":
            body, inputs = node.args[4], node.args[5:]
        else:
            continue
        found = True
        region = getattr(graph_module, str(body.target))
        _inline(graph_module, node, region, inputs)
        graph.erase_node(node)
        if not body.users:
            graph.erase_node(body)
            delattr(graph_module, str(body.target))
    return found


def _inline(
    graph_module: fx.GraphModule, call: fx.Node, region: fx.GraphModule, inputs: tuple[Any, ...]
) -> None:
    graph = graph_module.graph
    mapping: dict[fx.Node, Any] = {}
    placeholders = region.graph.find_nodes(op="placeholder")
    mapping.update(zip(placeholders, inputs, strict=True))
    result: Any = None
    with graph.inserting_before(call):
        for node in region.graph.nodes:
            if node.op == "placeholder":
                continue
            if node.op == "output":
                result = fx.node.map_arg(node.args[0], lambda n: mapping[n])
                continue
            if node.op == "get_attr":
                name = f"{call.name}_{str(node.target).replace('.', '_')}"
                setattr(graph_module, name, getattr(region, str(node.target)))
                copied = graph.get_attr(name)
                copied.meta = dict(node.meta)
            else:
                copied = graph.node_copy(node, lambda n: mapping[n])
            mapping[node] = copied
    if isinstance(result, list | tuple):
        for user in list(call.users):
            if user.target is operator.getitem:
                user.replace_all_uses_with(result[int(str(user.args[1]))])
                graph.erase_node(user)
    else:
        call.replace_all_uses_with(result)


def _write_out_attention_scale(graph_module: fx.GraphModule) -> bool:
    changed = False
    for node in graph_module.graph.nodes:
        if node.target is not aten.scaled_dot_product_attention.default:
            continue
        if node.kwargs.get("scale") is None:
            head_size = int(node.args[0].meta["val"].shape[-1])
            node.kwargs = {**node.kwargs, "scale": head_size**-0.5}
            changed = True
    return changed


def _drop_repeated_length(graph: fx.Graph) -> bool:
    changed = False
    for node in graph.find_nodes(op="call_function", target=aten.repeat_interleave.self_int):
        if node.kwargs.get("output_size") is not None:
            node.kwargs = {**node.kwargs, "output_size": None}
            changed = True
    return changed


def _drop_empty_parts(graph: fx.Graph) -> bool:
    changed = False
    for node in list(graph.nodes):
        if node.target is not aten.cat.default:
            continue
        full = [part for part in node.args[0] if not _is_empty(part)]
        if not full or len(full) == len(node.args[0]):
            continue
        empty = [part for part in node.args[0] if part not in full]
        node.args = (full, *node.args[1:])
        for part in dict.fromkeys(empty):
            _erase_unused(graph, part)
        changed = True
    return changed


def _copy_single_parts(graph: fx.Graph) -> bool:
    """A concatenation of one tensor, as einops.pack makes it, is a copy of that."""
    nodes = graph.find_nodes(op="call_function", target=aten.cat.default)
    single = [node for node in nodes if len(node.args[0]) == 1]
    for node in single:
        node.target, node.args, node.kwargs = aten.clone.default, (node.args[0][0],), {}
    return bool(single)


def _is_empty(node: fx.Node) -> bool:
    """Whether a tensor surely has no elements; how many it has may depend on the values."""
    return any(statically_known_true(size == 0) for size in node.meta["val"].shape)


def _drop_unread_outputs(graph: fx.Graph) -> bool:
    picked = graph.find_nodes(op="call_function", target=operator.getitem)
    unread = [node for node in picked if not node.users]
    for node in unread:
        graph.erase_node(node)
    return bool(unread)


def _drop_unread_writes(graph: fx.Graph) -> bool:
    aliases = Aliases(graph)
    changed = False
    for node in reversed(list(graph.nodes)):
        # A random operator moves the generator on, which those after it notice.
        random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if node.users or random or aliases.root(node) is node:
            continue
        written = written_arguments(node)
        made_here = all(aliases.root(value).op == "call_function" for value in written)
        if made_here and not any(aliases.read_after(value, node) for value in written):
            graph.erase_node(node)
            changed = True
    return changed


def _views_to_reshapes(graph: fx.Graph) -> bool:
    views = graph.find_nodes(op="call_function", target=aten.view.default)
    for node in views:
        node.target = aten.reshape.default
    return bool(views)


def _drop_plain_detaches(graph: fx.Graph) -> bool:
    detached = graph.find_nodes(op="call_function", target=aten.detach.default)
    kinds = {node: node.meta["val"].dtype for node in detached}
    plain = [n for n, kind in kinds.items() if not (kind.is_floating_point or kind.is_complex)]
    for node in plain:
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)
    return bool(plain)


def _copy_written_inputs(graph: fx.Graph) -> bool:
    aliases = Aliases(graph)
    roots = {aliases.root(to) for node in graph.nodes for to in written_arguments(node)}
    written = [node for node in graph.find_nodes(op="placeholder") if node in roots]
    last = graph.find_nodes(op="placeholder")[-1] if written else None
    for node in reversed(written):
        assert last is not None
        with graph.inserting_after(last):
            copy = graph.call_function(aten.clone.default, (node,))
        copy.meta = dict(node.meta)
        node.replace_all_uses_with(copy, delete_user_cb=lambda user, own=copy: user is not own)
    return bool(written)


def _erase_unused(graph: fx.Graph, node: fx.Node) -> None:
    """Erase calls that nothing reads any more, backwards from ``node``."""
    if node.op == "call_function" and not node.users and not node.is_impure():
        sources = node.all_input_nodes
        graph.erase_node(node)
        for source in sources:
            _erase_unused(graph, source)
