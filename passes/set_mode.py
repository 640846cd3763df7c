"""Set mode: switch an exported graph between training and evaluation behaviour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.graph.schema import get_argument, has_argument, set_argument
from graphprune.passes.base import GraphPass, finished

# What operators call their "now training" flag; instance_norm's is on, too, without statistics.
_FLAGS = ("training", "train", "use_input_stats")
_DROPOUT = "dropout_p"
_OWN = "graphprune_fixed_mode"
_SAVED_DROPOUT = "graphprune_dropout_p"
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class SetMode(GraphPass):
    """Rewrite the training flags that torch.export bakes into ATen calls.

    Every operator whose schema has a boolean ``training``, ``train`` or ``use_input_stats`` is
    covered (batch norm, the dropout family, instance norm, rrelu, recurrent nets), and the counter
    ``num_batches_tracked`` beside running statistics counts again in training.

    Left alone: normalisation without running statistics, which uses the batch in both modes, and a
    flag that the model itself fixes, recognised by being on while the graph is in evaluation mode
    (Monte-Carlo dropout). Two things an evaluation-mode export has lost and no pass can bring back:
    the dropout probability inside ``scaled_dot_product_attention`` (exported as 0.0, so attention
    dropout stays off) and a batch norm momentum of None (exported as 0.0: its statistics stay).

    Attributes:
        training: the mode to set.
        statistics_only: leave everything but operators with running statistics as it is.
    """

    name: ClassVar[str] = "set-mode"
    training: bool = False
    statistics_only: bool = False

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        """Rewrite in place; ``modified`` says whether a flag or counter changed."""
        modified = False
        tracked: list[fx.Node] = []
        for node in graph_module.graph.nodes:
            statistics = _keeps_statistics(node)
            if self.statistics_only and not statistics:
                continue
            for flag in _FLAGS:
                if has_argument(node, flag):
                    modified |= self._set_flag(node, flag, graph_module.training)
            if has_argument(node, _DROPOUT):
                modified |= self._set_dropout(node, graph_module.training)
            if statistics and not node.meta.get(_OWN):
                tracked.append(node)
        modified |= self._set_counters(graph_module, tracked)
        return finished(graph_module, modified)

    def _set_flag(self, node: fx.Node, flag: str, was_training: bool) -> bool:
        value = get_argument(node, flag)
        if _lacks_statistics(node):
            return False
        if value and not was_training:
            node.meta.setdefault(_OWN, True)
        if node.meta.get(_OWN) or bool(value) == self.training:
            return False
        # Once met in the evaluation form, the flag is known to follow the mode.
        node.meta[_OWN] = False
        set_argument(node, flag, self.training)
        return True

    def _set_dropout(self, node: fx.Node, was_training: bool) -> bool:
        value = get_argument(node, _DROPOUT)
        if value and not was_training:
            node.meta.setdefault(_OWN, True)
        if node.meta.get(_OWN):
            return False
        if self.training and not value and node.meta.get(_SAVED_DROPOUT):
            set_argument(node, _DROPOUT, node.meta[_SAVED_DROPOUT])
            return True
        if not self.training and value:
            node.meta[_OWN] = False
            node.meta[_SAVED_DROPOUT] = value
            set_argument(node, _DROPOUT, 0.0)
            return True
        return False

    def _set_counters(self, graph_module: fx.GraphModule, tracked: list[fx.Node]) -> bool:
        present = dict(_counting(graph_module.graph))
        wanted: dict[str, fx.Node] = {}
        for node in tracked:
            counter = _counter_beside(graph_module, get_argument(node, "running_mean"))
            if counter is not None:
                wanted.setdefault(counter, node)
        if not self.training:
            for counter in set(wanted) & set(present):
                graph_module.graph.erase_node(present[counter])
            return bool(set(wanted) & set(present))
        missing = [counter for counter in wanted if counter not in present]
        for counter in missing:
            _count(graph_module, counter, wanted[counter])
        return bool(missing)


def exported_in_training(graph: fx.Graph) -> bool:
    """Whether a graph comes from a model that was left in training mode.

    That is so if some training flags are on and none is off: an export in evaluation mode has
    flags on only where the model itself fixes them (Monte-Carlo dropout), seldom in all layers.
    """
    found = set()
    for node in graph.nodes:
        for flag in _FLAGS:
            if has_argument(node, flag) and not _lacks_statistics(node):
                found.add(bool(get_argument(node, flag)))
        if has_argument(node, _DROPOUT) and get_argument(node, _DROPOUT):
            found.add(True)  # 0.0 says nothing: most attention has none
    return found == {True}


def _lacks_statistics(node: fx.Node) -> bool:
    """Whether it normalises by the batch in any mode: its form has no statistics, or is given none.

    Some such forms crash the process where their flag is turned.
    """
    if has_argument(node, "running_mean"):
        return get_argument(node, "running_mean") is None
    return has_argument(node, "momentum")


def _keeps_statistics(node: fx.Node) -> bool:
    return has_argument(node, "running_mean") and get_argument(node, "running_mean") is not None


def _counting(graph: fx.Graph) -> Iterator[tuple[str, fx.Node]]:
    """Calls that only add to a buffer named num_batches_tracked."""
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.add_.Tensor):
        counter = node.args[0]
        if not isinstance(counter, fx.Node) or counter.op != "get_attr" or node.users:
            continue
        if str(counter.target).rpartition(".")[2] == _COUNTER:
            yield str(counter.target), node


def _count(graph_module: fx.GraphModule, counter: str, before: fx.Node) -> None:
    """Add one to a counter ahead of a node."""
    graph = graph_module.graph
    known = [n for n in graph.find_nodes(op="get_attr", target=counter) if n < before]
    with graph.inserting_before(before):
        attribute = known[0] if known else graph.get_attr(counter)
        if "val" in before.meta:
            attribute.meta.setdefault("val", _as_fake(before.meta["val"], graph_module, counter))
        adding = graph.call_function(torch.ops.aten.add_.Tensor, (attribute, 1))
        adding.meta.update(attribute.meta)


def _counter_beside(graph_module: fx.GraphModule, running_mean: object) -> str | None:
    """torch's normalisation modules keep the counter beside the running mean."""
    if not isinstance(running_mean, fx.Node) or running_mean.op != "get_attr":
        return None
    prefix, dot, _ = str(running_mean.target).rpartition(".")
    name = f"{prefix}{dot}{_COUNTER}"
    try:
        graph_module.get_buffer(name)
    except AttributeError:
        return None
    return name


def _as_fake(example: object, graph_module: fx.GraphModule, name: str) -> torch.Tensor:
    """A buffer as a fake tensor of the mode that the graph's other values belong to."""
    value = graph_module.get_buffer(name)
    mode = getattr(example, "fake_mode", None)
    if mode is None:
        return value.detach()
    fake: torch.Tensor = mode.from_tensor(value, static_shapes=True)
    return fake
