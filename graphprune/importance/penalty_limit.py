"""The most that a penalty may weigh: where data are few, it would close every channel alike.

The objective of all switches is ``loss + weight * penalty``, with a weight of 1 / N (Dirichlet
Pruning, eq. 7, and the other papers). With a few hundred examples the cheapest network by it may be
one with nothing left open. No channel ranks above another there. So the whole penalty may buy no
more than a share of what the data lose when all channels are closed. This is a choice of ours; the
papers learn from whole training sets, where it changes nothing or little. A penalty that holds a
budget (:attr:`Switch.is_budget`) only begins there, and grows to its full weight.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from graphprune.switches.base import total_penalty
from graphprune.switches.network import SwitchedNetwork
from graphprune.training.devices import Batch, Runtime

LARGEST_SHARE = 0.3
"""Of the loss of closing all channels. At 1 an average channel would be worth just its penalty; at
0.3 those that are worth a third of the average are."""

_BATCHES = 8
"""Batches on which the loss is measured."""

Fit = Callable[[SwitchedNetwork, Any, Any], torch.Tensor]


def heaviest_weight(
    network: SwitchedNetwork, data: Iterable[Batch], fit: Fit, runtime: Runtime
) -> float:
    """The most that the penalty of these switches may weigh; infinity where nothing limits it.

    Nothing does where switches cannot all close (:attr:`Switch.can_close`), there is no penalty, or
    the loss is no worse with all of them closed.

    Args:
        network: before anything is learned.
        data: batches ``(inputs, target)``, of which the first few are read.
        fit: the data term of the loss, a scalar.
        runtime: where all processes agree on the answer.
    """
    switches = [*network.switches.values()]
    penalty = float(total_penalty(switches).detach())
    if penalty <= 0 or not all(switch.can_close for switch in switches):
        return math.inf
    cost = torch.zeros((), device=runtime.device)
    batches = 0
    with torch.no_grad():
        for inputs, target in itertools.islice(runtime.batches(data), _BATCHES):
            with network.still(closed=True):
                closed = fit(network, inputs, target)
            with network.still():
                cost += closed.detach() - fit(network, inputs, target).detach()
            batches += 1
    runtime.average([cost])
    lost = float(cost) / max(batches, 1)
    return LARGEST_SHARE * lost / penalty if lost > 0 else math.inf
