"""Respell: a call that says what another operator says, in other words, is given as that one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.schema import get_argument
from graphprune.graph.values import is_free, shape_of
from graphprune.passes.base import GraphPass, finished
from graphprune.rules.movement import is_view

aten = torch.ops.aten

Spelling = tuple[Any, tuple[Any, ...]]
"""An operator and its arguments."""


@dataclass(frozen=True)
class Respell(GraphPass):
    """Give each operation the one name that rules, modes and exporters know it by.

    1. norms and dropout of a decomposed program (``run_decompositions()``) return besides what only
       the backward pass reads; they become those of ``torch.nn.functional``;
    2. new statistics of a batch norm and its counter, which such a program writes back into buffers
       at its end, are written there by the calls that make them;
    3. ``tile``, ``broadcast_to`` and ``repeat_interleave`` of a single element, and a concatenation
       of one such tensor several times, are ``repeat`` and ``expand``;
    4. one value written to all elements that a mask marks (``x[x < 0] = 0``) is ``masked_fill``;
    5. a tensor that is given another shape in place (``unsqueeze_``) is a view from there on.

    Left alone: a call of which a further output is read, and a mask of fewer dimensions.
    """

    name: ClassVar[str] = "respell"

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether anything was found."""
        graph = graph_module.graph
        _describe_writes(graph)
        modified = _count_in_place(graph)
        modified |= _name_natives(graph)
        modified |= _name_repeats(graph)
        modified |= _name_fills(graph)
        modified |= _name_views(graph)
        return finished(graph_module, modified)


def _describe_writes(graph: fx.Graph) -> None:
    """Say of what shape the writes into buffers are, which torch.export adds without a value."""
    for node in graph.find_nodes(op="call_function", target=aten.copy_.default):
        written = node.args[0]
        if "val" not in node.meta and "val" in written.meta:
            node.meta["val"] = written.meta["val"]


def _written_back(value: fx.Node, buffer: Any, reader: fx.Node) -> fx.Node | None:
    """The write of ``value`` into a buffer that else nothing but ``reader`` reads."""
    if not isinstance(buffer, fx.Node) or buffer.op != "get_attr" or len(value.users) != 1:
        return None
    (write,) = value.users
    if write.target is not aten.copy_.default or write.args != (buffer, value) or write.users:
        return None
    readers = {user for node in _same(buffer) for user in node.users}
    return write if readers == {reader, write} else None


def _same(buffer: fx.Node) -> list[fx.Node]:
    return buffer.graph.find_nodes(op="get_attr", target=str(buffer.target))


def _count_in_place(graph: fx.Graph) -> bool:
    """A number added to a buffer and written back is added in place."""
    changed = False
    for node in list(graph.find_nodes(op="call_function", target=aten.add.Tensor)):
        buffer, number = node.args[:2]
        write = _written_back(node, buffer, node)
        if write is None or isinstance(number, fx.Node) or node.kwargs:
            continue
        write.target, write.args = aten.add_.Tensor, (buffer, number)
        graph.erase_node(node)
        changed = True
    return changed


# -- calls with several outputs ------------------------------------------------------------------


def _batch_norm(node: fx.Node) -> Spelling | None:
    """Any of the native batch norms, with the statistics of the batch or of before."""

    def given(name: str, otherwise: Any = None) -> Any:
        try:
            return get_argument(node, name)
        except KeyError:
            return otherwise

    training = bool(given("training", False))
    statistics = (given("running_mean"), given("running_var"))
    if not training and None in statistics:
        return None
    norm = (*node.args[:1], given("weight"), given("bias"), *statistics)
    return aten.batch_norm.default, (*norm, training, given("momentum"), given("eps"), True)


def _layer_norm(node: fx.Node) -> Spelling:
    return aten.layer_norm.default, (*node.args, True)


def _group_norm(node: fx.Node) -> Spelling:
    x, weight, bias, _, _, _, groups, eps = node.args
    return aten.group_norm.default, (x, groups, weight, bias, eps, True)


def _dropout(node: fx.Node) -> Spelling | None:
    x, p, train = node.args
    return (aten.dropout.default, (x, p, train)) if isinstance(train, bool) else None


_FUNCTIONAL = aten._native_batch_norm_legit_functional.default
_NATIVES: dict[Any, Callable[[fx.Node], Spelling | None]] = {
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten._native_batch_norm_legit.default: _batch_norm,
    aten._native_batch_norm_legit.no_stats: _batch_norm,
    aten.native_batch_norm.default: _batch_norm,
    _FUNCTIONAL: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten.native_dropout.default: _dropout,
}


def _name_natives(graph: fx.Graph) -> bool:
    changed = False
    for node in list(graph.nodes):
        spelling = _NATIVES[node.target](node) if node.target in _NATIVES else None
        first, gone = _outputs(node) if spelling is not None else ([], None)
        if spelling is None or gone is None:
            continue
        with graph.inserting_before(node):
            named = graph.call_function(*spelling)
        named.meta = node.meta | {"val": node.meta["val"][0]}
        for output in first:
            output.replace_all_uses_with(named)
        for unread in (*gone, *first, node):
            graph.erase_node(unread)
        changed = True
    return changed


def _outputs(node: fx.Node) -> tuple[list[fx.Node], list[fx.Node] | None]:
    """Where the first output is picked, and what goes with the others; None where these are read.

    New statistics may be written back, which batch norm does by itself, and must be.
    """
    first: list[fx.Node] = []
    gone: list[fx.Node] = []
    back = {3: "running_mean", 4: "running_var"} if node.target is _FUNCTIONAL else {}
    for user in node.users:
        if user.target is not operator.getitem:
            return [], None
        if user.args[1] == 0:
            first.append(user)
            continue
        name = back.pop(user.args[1], None) if user.users else None  # type: ignore[arg-type]
        write = _written_back(user, get_argument(node, name), node) if name else None
        if user.users and write is None:
            return [], None
        gone += [user] if write is None else [write, user]
    lost = bool(back) and bool(get_argument(node, "training"))
    return first, None if lost else gone


# -- repeated elements ---------------------------------------------------------------------------


def _name_repeats(graph: fx.Graph) -> bool:
    changed = False
    for node, spelling in _repeats(graph):
        node.target, node.args = spelling
        node.kwargs = {}
        changed = True
    return changed


def _repeats(graph: fx.Graph) -> Iterator[tuple[fx.Node, Spelling]]:
    for node in graph.nodes:
        spelling = _REPEATS[node.target](node) if node.target in _REPEATS else None
        if spelling is not None:
            yield node, spelling


def _tile(node: fx.Node) -> Spelling:
    source, times = node.args
    return aten.repeat.default, (source, [1] * (_rank(source) - len(times)) + list(times))  # type: ignore[arg-type]


def _interleaved(node: fx.Node) -> Spelling | None:
    source, times, dim = (get_argument(node, name) for name in ("self", "repeats", "dim"))
    return None if dim is None else _repeat_along(source, dim, times)


def _concatenated(node: fx.Node) -> Spelling | None:
    parts: Any = node.args[0]
    alike = len(parts) > 1 and len(set(parts)) == 1
    return _repeat_along(parts[0], get_argument(node, "dim"), len(parts)) if alike else None


def _repeat_along(source: fx.Node, dim: int, times: Any) -> Spelling | None:
    """A dimension of size 1 repeated; None for a longer one, where the order matters."""
    size = source.meta["val"].shape[dim]
    if is_free(size) or size != 1:
        return None
    numbers: list[Any] = [1] * _rank(source)
    numbers[dim] = times
    return aten.repeat.default, (source, numbers)


def _rank(node: Any) -> int:
    return len(shape_of(node))


_REPEATS: dict[Any, Callable[[fx.Node], Spelling | None]] = {
    aten.tile.default: _tile,
    aten.repeat_interleave.self_int: _interleaved,
    aten.cat.default: _concatenated,
    aten.broadcast_to.default: lambda node: (aten.expand.default, node.args),
}


# -- masks ---------------------------------------------------------------------------------------

_FILLS = {
    aten.index_put.default: aten.masked_fill.Tensor,
    aten.index_put_.default: aten.masked_fill_.Tensor,
}


def _name_fills(graph: fx.Graph) -> bool:
    changed = False
    for node in list(graph.nodes):
        if node.target not in _FILLS or not _fills_by_mask(node):
            continue
        source, (mask,), value = node.args[:3]
        if _rank(value):  # masked_fill takes a tensor without dimensions
            with graph.inserting_before(node):
                given = value.meta
                value = graph.call_function(aten.reshape.default, (value, []))
            value.meta = given | {"val": given["val"].reshape([])}
        node.target, node.args, node.kwargs = _FILLS[node.target], (source, mask, value), {}
        changed = True
    return changed


def _fills_by_mask(node: fx.Node) -> bool:
    """Whether one element is written wherever a mask of the tensor's own shape says so."""
    indices = get_argument(node, "indices")
    if len(indices) != 1 or get_argument(node, "accumulate"):
        return False
    source, value = (get_argument(node, name).meta["val"] for name in ("self", "values"))
    mask = indices[0].meta["val"]
    single = all(not is_free(size) and size == 1 for size in value.shape)
    alike = mask.ndim == source.ndim and all(
        statically_known_true(one == other)
        for one, other in zip(mask.shape, source.shape, strict=True)
    )
    return mask.dtype == torch.bool and mask.device == source.device and single and alike


# -- views ---------------------------------------------------------------------------------------


def _name_views(graph: fx.Graph) -> bool:
    changed = False
    for node in list(graph.nodes):
        view = _view_of(node.target)
        if view is None:
            continue
        node.target = view
        source = node.args[0]
        for reader in [user for user in source.users if node < user]:
            reader.replace_input_with(source, node)
        changed = True
    return changed


def _view_of(target: Any) -> Any:
    """The operator that gives as a view what this one makes of the tensor itself, if it does."""
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.inplace_view not in target.tags:
        return None
    packet = getattr(aten, target._opname.removesuffix("_"), None)
    view = getattr(packet, target._overloadname, None)
    moves = packet is not aten.detach  # which lays nothing out anew
    return view if moves and is_view(view) else None
