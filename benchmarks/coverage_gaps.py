"""Why a model kept more than half of every dimension would leave: how much each reason holds."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass

from torch import nn

from graphprune.analysis.groups import Analysis, Pin

HALF = 0.5
TOLERANCE = 0.05


@dataclass(frozen=True)
class Gap:
    """Parameters kept beyond the ideal, and why.

    Attributes:
        share: of all parameters of the model.
        reason: what keeps them.
        op: operator at which that was found; "" where there is none.
        source: line of the model's own code; "" where there is none.
        example: one parameter dimension, as ``name[dim]``.
    """

    share: float
    reason: str
    op: str = ""
    source: str = ""
    example: str = ""


def gaps(dense: nn.Module, small: nn.Module, analysis: Analysis) -> list[Gap]:
    """What is kept beyond the ideal at half of the channels, largest share first.

    The ideal halves every dimension that holds channels, pinned or not (so a convolution keeps a
    quarter). What a parameter keeps beyond that is laid at the door of its dimensions that were
    not halved, in proportion to the logarithm of what each kept too much; the shares of all gaps
    add up to the model's distance from the ideal.
    """
    pins = {(pin.parameter, pin.dim): pin for pin in analysis.pinned}
    members = {(m.parameter, m.dim): g.size for g in analysis.groups for m in g.members}
    after = dict(small.named_parameters())
    total = sum(parameter.numel() for parameter in dense.parameters())
    held: dict[tuple[str, str, str], float] = defaultdict(float)
    examples: dict[tuple[str, str, str], str] = {}
    for name, before in dense.named_parameters():
        if name not in after:  # left out whole, as nothing reads it
            continue
        dims = [d for d in range(before.ndim) if (name, d) in pins or (name, d) in members]
        unseen = not dims and before.ndim > 1
        dims = [0, 1] if unseen else dims
        dims = [d for d in dims if before.shape[d] > 1]
        kept = {d: after[name].shape[d] / before.shape[d] for d in dims}
        excess = after[name].numel() - before.numel() * HALF ** len(dims)
        blame = {d: math.log(k / HALF) for d, k in kept.items() if k > HALF + TOLERANCE}
        for dim, weight in blame.items():
            wider = members.get((name, dim), 0) > before.shape[dim]
            key = _why(pins.get((name, dim)), analysis, unseen=unseen, wider=wider)
            held[key] += excess * weight / sum(blame.values()) / total
            examples.setdefault(key, f"{name}[{dim}]")
    found = [Gap(share, *key, examples[key]) for key, share in held.items()]
    return sorted(found, key=lambda gap: -gap.share)


def _why(pin: Pin | None, analysis: Analysis, *, unseen: bool, wider: bool) -> tuple[str, str, str]:
    if unseen:
        return "no operator's labels reach it", "", ""
    if pin is None:
        why = "other channels of its group went first" if wider else "its group was not halved"
        return why, "", ""
    return pin.reason, _op(analysis, pin.node), short_source(pin.source)


def _op(analysis: Analysis, name: str) -> str:
    nodes = [node for node in analysis.module.graph.nodes if node.name == name]
    return str(nodes[0].target) if nodes else ""


def short_source(text: str) -> str:
    """A text with the paths in it cut to what follows ``site-packages``, or to four parts."""
    text = re.sub(r"[^\s'\"(]*/site-packages/", "", text)
    return re.sub(r"(?<![\w.])(?:/[^\s/:'\"]+)+", lambda path: _tail(path[0]), text)


def _tail(path: str) -> str:
    return "/".join(path.split("/")[-4:])
