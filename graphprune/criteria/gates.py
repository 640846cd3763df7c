"""Gates of ones in place of switches: gradients with respect to the presence of a channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.criteria.runs import Runs
from graphprune.criteria.sloped import gradients
from graphprune.graph.graphmodule import frozen
from graphprune.passes.insert_switches import InsertSwitches
from graphprune.switches.network import batch_first_groups
from graphprune.switches.placement import switch_sites
from graphprune.switches.sites import group_sizes
from graphprune.training.devices import move


class Gate(nn.Module):
    """Ones that scale a group's channels, a fresh leaf of the autograd graph at each call.

    Attributes:
        per_example: whether each example of the batch has gates of its own. Where the group's
            values do not begin with the batch, all of it shares them.
        examples: batch size of the coming call.
        values: the ones of the last call, (examples, D) or (D,).
    """

    one: torch.Tensor

    def __init__(self, size: int, *, per_example: bool) -> None:
        super().__init__()
        self.size = size
        self.per_example = per_example
        self.examples = 1
        self.register_buffer("one", torch.ones(()), persistent=False)
        self.values = torch.ones(size)

    def forward(self) -> torch.Tensor:
        """New ones that require a gradient."""
        shape = (self.examples, self.size) if self.per_example else (self.size,)
        self.values = self.one.new_ones(shape).requires_grad_()
        return self.values


@dataclass(frozen=True)
class GatedRun:
    """One batch through the gated model.

    Attributes:
        output: what the model answers.
        target: the batch's target, None without labels.
        examples: how many there are.
        gates: by group, the gates as leaves of the autograd graph, (examples, D) or (D,).
    """

    output: Any
    target: Any
    examples: int
    gates: dict[str, torch.Tensor]

    def gradients(self, scalar: torch.Tensor, *, retain: bool = False) -> dict[str, torch.Tensor]:
        """Gradient of a scalar of the output by the gates, by group, always (examples or 1, D)."""
        found = gradients(scalar, list(self.gates.values()), retain=retain)
        return {
            group: gradient.reshape(-1, gradient.shape[-1])
            for group, gradient in zip(self.gates, found, strict=True)
        }


def gated_runs(analysis: Analysis, runs: Runs) -> Iterator[GatedRun]:
    """Run the model over the data with a gate for each group, at every place where it comes forth.

    The places are those of the switches (:mod:`graphprune.switches.placement`), so a channel's gate
    multiplies all that the channel is, and a gate of zero is removal.
    """
    captured = runs.captured
    sites = switch_sites(analysis)
    batched = batch_first_groups(captured, sites)
    gates = {g: Gate(n, per_example=batched[g]) for g, n in group_sizes(sites).items()}
    module = frozen(captured.module).eval()
    InsertSwitches(sites=sites, switches=gates)(module)
    move(module, runs.runtime.device)
    for inputs in runs:
        for gate in gates.values():
            gate.examples = inputs.examples
        output = inputs.through(module)
        values = {group: gate.values for group, gate in gates.items()}
        yield GatedRun(output, inputs.target, inputs.examples, values)
