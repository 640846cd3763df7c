"""Operators that draw random numbers: which do, and how two runs come to draw alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import fx

from graphprune.graph.schema import get_argument, has_argument
from graphprune.graph.values import concrete

_SEED = 0


def draws(node: fx.Node) -> bool:
    """Whether a call draws random numbers; dropout and its kind do while they are switched on."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if has_argument(node, "dropout_p"):
        return float(concrete(get_argument(node, "dropout_p"))) > 0
    flags = [name for name in ("train", "training") if has_argument(node, name)]
    if flags and "dropout" in node.target.name():
        return bool(get_argument(node, flags[0]))
    if torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    return all(bool(get_argument(node, name)) for name in flags)


@contextmanager
def same_chance() -> Iterator[None]:
    """While open, random numbers begin where they begin every time; afterwards, where they were."""
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        yield
