"""What can be pruned and what cannot, as plain data: behind ``inspect`` and the report."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from graphprune.analysis.groups import Analysis
from graphprune.analysis.held import held_back
from graphprune.capturing.capture import Captured
from graphprune.choosing.cost import cost_model
from graphprune.delivery.measure import count_unread, macs_per_example


def overview(captured: Captured, analysis: Analysis) -> dict[str, Any]:
    """Groups with their members and shares, what is held back by which call, and all pins.

    ``params_unread`` are in parameters that evaluation never reads, which no budget counts;
    ``macs`` are multiply-accumulates at batch ``macs_batch``; None where they cannot be counted.

    A group's share is the part of all parameters (MACs) that touches its channels. An element
    between two groups counts for both, so shares add up to more than 1.
    """
    costs = cost_model(analysis)
    counted, batch = macs_per_example(captured)
    everything = np.ones(analysis.classes, dtype=bool)
    params, macs = costs.params(everything), costs.macs(everything)
    groups = []
    for group in analysis.groups:
        without = everything.copy()
        without[group.channels] = False
        groups.append(
            {
                "name": group.name,
                "channels": group.size,
                "units": group.alone.size + sum(block.units for block in group.in_step),
                "rows": len(group.rows),
                "params_share": 1 - costs.params(without) / params if params else 0.0,
                "macs_share": 1 - costs.macs(without) / macs if macs else 0.0,
                "members": [dataclasses.asdict(member) for member in group.members],
            }
        )
    return {
        "params": round(params),
        "params_unread": count_unread(captured.module),
        "macs": counted,
        "macs_batch": batch,
        "groups": groups,
        "held": [dataclasses.asdict(held) for held in held_back(analysis)],
        "pinned": [dataclasses.asdict(pin) for pin in analysis.pinned],
    }
