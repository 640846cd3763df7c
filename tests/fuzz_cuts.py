"""What a plan's lists cut out of a tensor, found without the engine's code, and a wrong cut."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from graphprune.choosing.plan import Plan
from graphprune.graph.values import get_tensor

Positions = Any
"""Kept positions along one dimension: a list, or a list for each kept row of the first one."""


def is_by_row(positions: Positions) -> bool:
    """Whether rows keep positions of their own."""
    return isinstance(positions[0], list)


def cut_out(tensor: torch.Tensor, kept: Mapping[int, Positions]) -> torch.Tensor | None:
    """The part of a tensor that is kept; None where its rows lie along several dimensions."""
    for dim, positions in kept.items():
        if not is_by_row(positions):
            tensor = tensor.index_select(dim, torch.tensor(positions))
    for dim, rows in kept.items():
        if is_by_row(rows):
            if len(rows) != tensor.shape[0]:
                return None
            pairs = zip(tensor, map(torch.tensor, rows), strict=True)
            tensor = torch.stack([row.index_select(dim - 1, own) for row, own in pairs])
    return tensor


def mutate(
    whole: nn.Module, small: nn.Module, plan: Plan, seed: int
) -> tuple[str, nn.Module] | None:
    """A copy in which one index of one parameter is exchanged for one that should have gone."""
    parameters = dict(whole.named_parameters())
    places = [(name, dim) for name, dims in sorted(plan.kept.items()) for dim in dims]
    rng = random.Random(seed)
    rng.shuffle(places)
    places.sort(key=lambda place: not is_by_row(plan.kept[place[0]][place[1]]))  # they are rare
    for name, dim in places:
        if name not in parameters:
            continue
        before, dims = get_tensor(whole, name).detach(), plan.kept[name]
        found = _exchanged(dims[dim], before.shape[dim], rng)
        cut = cut_out(before, {**dims, dim: found[1]}) if found is not None else None
        if found is None or cut is None:
            continue
        mutated = copy.deepcopy(small)
        with torch.no_grad():
            get_tensor(mutated, name).copy_(cut)
        return f"{name} dim {dim}{found[0]}", mutated
    return None


def _exchanged(positions: Positions, size: int, rng: random.Random) -> tuple[str, Positions] | None:
    """In which row, and the positions with one that should have gone; None where none has."""
    if not is_by_row(positions):
        gone = sorted(set(range(size)) - set(positions))
        return ("", [rng.choice(gone), *positions[1:]]) if gone else None
    row = rng.randrange(len(positions))
    found = _exchanged(positions[row], size, rng)
    if found is None:
        return None
    return f" row {row}", [*positions[:row], found[1], *positions[row + 1 :]]
