"""Records fail where their operator has another rule: without that, they would tell nothing.

One test for all overloads, as finding out which records hold one takes the graphs of all.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from op_oracle import check, network_of
from op_record import Record
from op_records import RECORDS

from graphprune.errors import GraphpruneError
from graphprune.rules.pointwise import LOSSES, POINTWISE
from graphprune.rules.rule import RULES, Rule
from graphprune.rules.table import find_rule

aten = torch.ops.aten

_ONE_TENSOR = "has one tensor, and each element of the result is made of the one in its place"
_ROW_BY_ROW = "a removed element adds nothing to its row's length; with one result it is a product"

ELEMENT_WISE: dict[Any, str] = {
    **dict.fromkeys((aten.clone.default, aten.real.default, aten.imag.default), _ONE_TENSOR),
    **dict.fromkeys((aten._weight_norm.default, aten.renorm.default), _ROW_BY_ROW),
    **dict.fromkeys((aten.arange.default, aten.arange.start_step), "has no tensor to take from"),
    **dict.fromkeys(LOSSES, "passes/split_losses.py has taken mean and sum out of it before"),
    aten.expand_as.default: "as long as the other tensor, as under broadcasting",
}
"""Overloads with a rule of their own that comes to the same as the element-wise one, and why."""

_NOTICED = (AssertionError, GraphpruneError, RuntimeError, IndexError, ValueError)


def _networks_by_overload() -> Mapping[Any, list[Record]]:
    found = defaultdict(dict)
    for record in RECORDS.values():
        for network in record.networks:
            for node in network_of(network)[1].module.graph.nodes:
                if isinstance(node.target, torch._ops.OpOverload):
                    found[node.target][network.name] = network
    return {target: list(networks.values()) for target, networks in found.items()}


def _passes(networks: list[Record]) -> bool:
    try:
        for network in networks:
            check(network)
    except _NOTICED:
        return False
    return True


def _survives(target: Any, wrong: Rule, networks: list[Record], patch: pytest.MonkeyPatch) -> bool:
    with patch.context() as patched:
        patched.setitem(RULES, target, wrong)
        return _passes(networks)


def test_no_record_passes_with_the_element_wise_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    survivors, met = set(), set()
    for target, networks in _networks_by_overload().items():
        own = find_rule(target)
        if own is None or own.label is POINTWISE.label:
            continue
        met.add(target)
        if _survives(target, POINTWISE, networks, monkeypatch):
            survivors.add(target)
    assert len(met) > 150
    assert survivors == set(ELEMENT_WISE) & met


def test_no_record_passes_without_the_masked_form(monkeypatch: pytest.MonkeyPatch) -> None:
    survivors, met = set(), set()
    for target, networks in _networks_by_overload().items():
        own = find_rule(target)
        if own is None or own.masked is None:
            continue
        met.add(target)
        if _survives(target, dataclasses.replace(own, masked=None), networks, monkeypatch):
            survivors.add(target)
    assert len(met) > 10
    assert survivors == set()


def test_a_rule_that_locks_too_much_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network that loses something needs labels behind each of its operators."""
    blind = Rule(lambda context, node: context.pin(context.of(node.args[0]), "a test") or ())
    networks = _networks_by_overload()
    for target in (aten.relu.default, aten.amax.default, aten.index_add.default, aten.cat.default):
        assert not _survives(target, blind, networks[target], monkeypatch)
