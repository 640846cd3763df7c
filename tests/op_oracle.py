"""An operator's rule held against what the operator does, without the engine's help.

The planner must have as many channels to choose from as the record says, along the dimensions that
it calls free and along no other. The network is then shrunk several times, so that each removable
channel goes once. Each time

- channels must go along all of these dimensions;
- all tensors must keep the same positions of a dimension of one name;
- the result must be that of the same call on slices of real tensors, cut by plain indexing
  (``kept``), or that of the full network with the removed channels set to zero (``zero``);
- the masked reference, which runs each rule's ``masked``, must give that very result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from engine_oracle import random_scores, shrink
from op_record import Around, Record, read_out

from graphprune.analysis.channels import ChannelGroup
from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.budget import choose
from graphprune.choosing.plan import Plan
from graphprune.errors import TargetError
from graphprune.proof.compare import max_relative_error
from graphprune.proof.masked import MaskedReference

Tensor = torch.Tensor
Kept = dict[str, dict[int, Any]]
"""Kept positions by dimension of each parameter."""

LIMIT = 1e-9

NOTHING = "all are pinned"
"""What a refusal says where there is nothing to remove."""

_captured: dict[str, tuple[Around, Captured]] = {}


def network_of(record: Record) -> tuple[Around, Captured]:
    """The network of one of :attr:`Record.networks`, and its graph, which is captured once."""
    if record.name not in _captured:
        torch.manual_seed(0)
        model = Around(record).double().eval()
        _captured[record.name] = model, capture(model, model.example_inputs, dynamic=False)
    return _captured[record.name]


def check(record: Record) -> None:
    """Shrink one of :attr:`Record.networks`; assert all that the module says."""
    model, captured = network_of(record)
    analysis = analyse(captured.module)
    _assert_choices(record, analysis)
    shrunk = False
    for plan in _plans(analysis, record.target):
        shrunk |= bool(plan.kept)
        small = shrink(captured, analysis, plan)
        reference = MaskedReference(analysis, plan.keep(analysis))
        with torch.no_grad():
            expected = _expected(model, plan)
            actual, masked = small(*model.example_inputs), reference(*model.example_inputs)
        assert max_relative_error(actual, expected) <= LIMIT, f"{record.name}: shrunk wrongly"
        assert max_relative_error(masked, expected) <= LIMIT, f"{record.name}: masked wrongly"
    assert shrunk or not _must_lose(record), f"{record.name}: nothing can be removed"


def _assert_choices(record: Record, analysis: Analysis) -> None:
    """The planner may choose of all channels that the record calls free, and of no others."""
    must, may = _must_lose(record), _may_lose(record) | set(record.maps)
    for parameter, dim, name in named(record):
        offered = sum(group.size for group in analysis.groups if _is_in(group, parameter, dim))
        where = f"{record.name}: {parameter} offers {offered} along {name}"
        assert name in may or not offered, where
        assert name not in must or offered == record.choices.get(name, record.size[name]), where


def _is_in(group: ChannelGroup, parameter: str, dim: int) -> bool:
    return any((member.parameter, member.dim) == (parameter, dim) for member in group.members)


def _plans(analysis: Analysis, target: str) -> Iterator[Plan]:
    """Plans by which every removable channel goes once; none where nothing can be removed."""
    order = {name: score.argsort() for name, score in random_scores(analysis).items()}
    try:
        first = choose(analysis, order, target).plan
    except TargetError as refusal:
        if NOTHING not in str(refusal):
            raise
        return
    yield first
    lost = {name: before - after for name, (before, after) in first.widths.items()}
    turns = [math.ceil(len(order[name]) / count) for name, count in lost.items() if count]
    for turn in range(1, max(turns, default=1)):
        turned = {n: (ranks - turn * lost.get(n, 0)) % len(ranks) for n, ranks in order.items()}
        yield choose(analysis, turned, target).plan


def _must_lose(record: Record) -> set[str]:
    """Names of the dimensions of which channels must go."""
    if not record.along:
        return set(record.free.split())
    return {record.along} - set(record.locked.split())


def _may_lose(record: Record) -> set[str]:
    """Names of those of which some may."""
    return _must_lose(record) | (set(record.free.split()) if record.along else set())


def _expected(model: Around, plan: Plan) -> Tensor:
    """What the call gives without the removed channels, and without the engine."""
    record = model.record
    if record.oracle == "zero":
        return zeroed(record, model, plan.kept)
    kept = kept_by_name(record, plan.kept)
    lost = {name for name, positions in kept.items() if len(positions) < record.size[name]}
    lost -= set(record.maps)
    must_lose = _must_lose(record)
    assert lost >= must_lose, f"{record.name}: loses {lost}, not all of {must_lose}"
    return recomputed(record, model, kept)


def named(record: Record) -> list[tuple[str, int, str]]:
    """(parameter, dimension, name) of everything that has a name."""
    found = []
    for number, term in enumerate(record.inputs):
        if "b" in term:
            brought = record.brought(term)
            found += [
                (f"before.x{number}.weight", 0, brought),
                (f"before.x{number}.bias", 0, brought),
            ]
        else:
            found += [(f"own.p{number}", dim, name) for dim, name in enumerate(term)]
    return [*found, ("behind", 0, record.read)]


def kept_by_name(record: Record, kept: Mapping[str, Any]) -> dict[str, list[int]]:
    """Kept positions of each name; asserts that all tensors agree, and that maps hold."""
    found: dict[str, list[int]] = {}
    for parameter, dim, name in named(record):
        whole = list(range(record.size[name]))
        positions = kept.get(parameter, {}).get(dim, whole)
        assert found.setdefault(name, positions) == positions, f"{parameter} differs in {name}"
    every = {name: list(range(size)) for name, size in record.size.items()} | found
    for name, of in record.maps.items():
        if name in found:
            assert found[name] == of(every), f"{name} keeps {found[name]}, not {of(every)}"
    return found


def recomputed(record: Record, model: Around, kept: dict[str, list[int]]) -> Tensor:
    """The network's result for its example, on slices of real tensors."""
    operands = []
    given = iter(model.example_inputs)
    for number, term in enumerate(record.inputs):
        if "b" in term:
            value = model.before[f"x{number}"](next(given))
            value = value.movedim(-1, term.index(record.brought(term)))
        else:
            value = model.own[f"p{number}"]
        for dim, name in enumerate(term):
            if name in kept and len(kept[name]) < record.size[name]:
                value = value.index_select(dim, torch.tensor(kept[name]))
        operands.append(value)
    sizes: dict[str, Any] = {**record.dense, **{n: len(found) for n, found in kept.items()}}
    sizes |= {f"kept_{name}": positions for name, positions in kept.items()}
    sizes |= record.buffers
    matrix = model.behind[kept[record.read]]
    return read_out(record, record.call(*operands, sizes), matrix)


def zeroed(record: Record, model: Around, kept: Mapping[str, Any]) -> Tensor:
    """The full network's result with what is removed before and behind the call at zero."""
    whole = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for parameter, dims in kept.items():
        tensor = model.get_parameter(parameter)
        for dim, positions in dims.items():
            if not parameter.startswith("own."):
                gone = sorted(set(range(tensor.shape[dim])) - set(positions))
                tensor.index_fill_(dim, torch.tensor(gone, dtype=torch.int64), 0)
    try:
        return model(*model.example_inputs)
    finally:
        model.load_state_dict(whole)
