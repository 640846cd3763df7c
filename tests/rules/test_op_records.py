"""Every rule against brute force: the same call on slices of real tensors."""

from __future__ import annotations

import pytest
import torch
from op_locks import is_needed, locked_name
from op_oracle import check, network_of
from op_reasons import REASONS
from op_records import RECORDS

from graphprune.rules.rule import RULES


@pytest.mark.parametrize("name", RECORDS)
def test_shrunk_is_what_the_call_gives_on_kept_channels(name: str) -> None:
    for network in RECORDS[name].networks:
        check(network)


LOCKED = [name for name, record in RECORDS.items() if any(map(locked_name, record.networks))]


@pytest.mark.parametrize("name", LOCKED)
def test_what_is_locked_could_not_have_gone(name: str) -> None:
    locks = {locked_name(each): each for each in RECORDS[name].networks if locked_name(each)}
    in_vain = {dimension for dimension, network in locks.items() if not is_needed(network)}
    assert in_vain == set(RECORDS[name].cautious.split())


def test_every_rule_has_a_record_or_a_reason() -> None:
    met = {
        getattr(node.target, "_overloadpacket", None)
        for record in RECORDS.values()
        for node in network_of(record)[1].module.graph.nodes
    }
    packets = {
        target._overloadpacket
        for target in RULES
        if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten"
    }
    names = {packet.__name__ for packet in packets - met}
    assert names - set(REASONS) == set(), "rules without a record"
    assert set(REASONS) - names == set(), "reasons that are not needed"
