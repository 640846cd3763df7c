"""Pooling and resizing: they act on space, channel by channel."""

from __future__ import annotations

import re

from torch import fx

from graphprune.labels.slots import varying
from graphprune.rules.context import Context
from graphprune.rules.rule import NodeLabels, Rule, overloads, register
from graphprune.values import shape_of


def label_window(context: Context, node: fx.Node) -> NodeLabels:
    """Channels pass through; channels that lie along the pooled space stay."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    found = re.search(r"([123])d", str(node.target))
    space = int(found.group(1)) if found else len(shape_of(source)) - 2
    first = len(shape_of(source)) - space
    labels = context.of(source)
    context.pin(
        [slot for slot in labels if max(varying(slot), default=0) >= first],
        f"space of {node.name}",
    )
    labels = tuple(slot for slot in labels if max(varying(slot), default=0) < first)
    value = node.meta["val"]
    return [labels for _ in value] if isinstance(value, list | tuple) else labels


_NAMES = [f"{kind}{n}d" for kind in ("avg_pool", "max_pool") for n in (1, 2, 3)]
_NAMES += [f"adaptive_{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3)]
_NAMES += [f"max_pool{n}d_with_indices" for n in (2, 3)]
_NAMES += ["upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"]
_NAMES += ["upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"]
_NAMES += ["upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"]

register(Rule(label_window), *overloads(*_NAMES))
