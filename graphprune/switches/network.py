"""The original model with switches in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from graphprune.capturing.capture import Captured
from graphprune.graph.graphmodule import TrainableGraphModule, frozen
from graphprune.graph.schema import get_argument
from graphprune.graph.trees import Inputs
from graphprune.passes.insert_switches import InsertSwitches
from graphprune.switches.affine import affine_index
from graphprune.switches.base import Switch
from graphprune.switches.sites import SwitchSite
from graphprune.training.devices import move
from graphprune.training.feed import call_arguments, count_examples


class SwitchedNetwork:
    """A captured model with one switch per group, ready to learn.

    With frozen weights these share memory with the captured model's and require no gradient, and
    all but the switches is in evaluation mode. Where weights are trained they are copies, and the
    whole network is in training mode.

    Attributes:
        module: the switched graph.
        original: the graph without switches, with the captured model's weights (shared memory) and
            in evaluation mode, for reference outputs.
        switches: group name to switch.
    """

    def __init__(
        self,
        captured: Captured,
        sites: Sequence[SwitchSite],
        switches: Mapping[str, Switch],
        device: torch.device,
        *,
        trained: bool = False,
    ) -> None:
        self._captured = captured
        self.switches = dict(switches)
        self.original: TrainableGraphModule = frozen(captured.module).eval()
        move(self.original, device)
        # Made after the move, so that both share the weights on that device too.
        self.module: TrainableGraphModule = (
            copy.deepcopy(captured.module) if trained else frozen(self.original)
        )
        self._weights = _free_parameters(self.module, sites) if trained else []
        self._names = [*self.module.state_dict()]
        InsertSwitches(sites=tuple(sites), switches=switches)(self.module)
        move(self.module, device)
        if trained:
            self.module.train()
        self.module.get_submodule("switches").train()

    def switch_parameters(self) -> list[nn.Parameter]:
        """The parameters of the switches."""
        return [p for switch in self.switches.values() for p in switch.parameters()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """The model's own parameters, where they are trained; else none.

        Weights of normalisations at a site stay: the switch is a factor of them already.
        """
        return self._weights

    def parameters(self) -> list[nn.Parameter]:
        """All that is learned."""
        return [*self.switch_parameters(), *self._weights]

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of the model's own parameters and buffers by name, on the CPU."""
        state = self.module.state_dict()
        return {name: state[name].detach().cpu().clone() for name in self._names}

    def inputs(self, inputs: Any) -> Inputs:
        """A batch's inputs as (args, kwargs), see :mod:`graphprune.training.feed`."""
        return call_arguments(self._captured, inputs)

    @contextmanager
    def still(self, *, closed: bool = False) -> Iterator[None]:
        """While open nothing is drawn: switches give their mean, or zeros where ``closed``."""
        trained = self.module.training
        self.module.eval()
        for switch in self.switches.values():
            switch.closed = closed
        try:
            yield
        finally:
            for switch in self.switches.values():
                switch.closed = False
            self.module.train(trained)
            self.module.get_submodule("switches").train()

    def set_examples(self, inputs: Inputs) -> None:
        """Tell the per-example switches the size of the coming batch."""
        examples = count_examples(self._captured, inputs)
        for switch in self.switches.values():
            if switch.per_example:
                switch.examples = examples


def _free_parameters(module: fx.GraphModule, sites: Sequence[SwitchSite]) -> list[nn.Parameter]:
    nodes = {node.name: node for node in module.graph.nodes}
    held = set()
    for site in sites:
        if affine_index(nodes[site.node], site.index) is not None:
            held.add(str(get_argument(nodes[site.node], "weight")))
    fixed = {str(n.target) for n in module.graph.find_nodes(op="get_attr") if n.name in held}
    return [p for name, p in module.named_parameters() if name not in fixed]


def batch_first_groups(captured: Captured, sites: Sequence[SwitchSite]) -> dict[str, bool]:
    """For each group whether dimension 0 of all its sites' values is the batch itself.

    Only then can a switch draw one scale for each example. Values with merged leading dimensions
    (windows, heads) or none of the batch (position tables) take one draw for the whole batch.
    """
    nodes = {node.name: node for node in captured.module.graph.nodes}
    batch = _batch_size(captured)
    answer: dict[str, bool] = {}
    for site in sites:
        node = nodes[site.node]
        size = node.meta["val"].shape[0]
        first = site.index.shape[0] == 1 and str(size) == batch
        answer[site.group] = answer.get(site.group, True) and first
    return answer


def _batch_size(captured: Captured) -> str:
    """The batch symbol as text, or the number where the batch is static."""
    placeholders: list[fx.Node] = captured.module.graph.find_nodes(op="placeholder")
    values = [n.meta["val"] for n in placeholders if isinstance(n.meta.get("val"), torch.Tensor)]
    for value, dim in zip(values, captured.batch_dims, strict=False):
        if dim is not None:
            return str(value.shape[dim])
    return str(values[0].shape[0]) if values and values[0].ndim else ""
