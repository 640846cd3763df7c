"""Every rule against brute force: the same call on slices of real tensors."""

from __future__ import annotations

import functools

import pytest
import torch
from engine_oracle import random_scores, shrink
from op_reasons import REASONS
from op_record import Around, kept_by_name, recomputed, zeroed
from op_records import RECORDS

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.budget import choose
from graphprune.choosing.plan import Plan
from graphprune.errors import GraphpruneError, TargetError
from graphprune.proof.compare import max_relative_error
from graphprune.rules.movement import MOVE
from graphprune.rules.pointwise import POINTWISE
from graphprune.rules.rule import RULES, Rule

LIMIT = 1e-9


@functools.cache
def _captured(name: str) -> tuple[Around, Captured]:
    torch.manual_seed(0)
    model = Around(RECORDS[name]).double().eval()
    return model, capture(model, model.example_inputs, dynamic=False)


def _expected(model: Around, plan: Plan) -> torch.Tensor:
    """What the call gives without the removed channels, and without the engine."""
    record = model.record
    if record.oracle == "zero":
        whole = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        result = zeroed(record, model, plan.kept)
        model.load_state_dict(whole)
        return result
    kept = kept_by_name(record, plan.kept)
    lost = {name for name, positions in kept.items() if len(positions) < record.size[name]}
    assert lost - set(record.maps) == set(record.free.split())
    return recomputed(record, model, kept)


def _error(name: str, analysis: Analysis, seed: int) -> float:
    model, captured = _captured(name)
    plan = choose(analysis, random_scores(analysis, seed), model.record.target).plan
    assert plan.kept
    small = shrink(captured, analysis, plan)
    with torch.no_grad():
        return max_relative_error(small(*model.example_inputs), _expected(model, plan))


@pytest.mark.parametrize("name", RECORDS)
def test_shrunk_is_what_the_call_gives_on_kept_channels(name: str) -> None:
    analysis = analyse(_captured(name)[1].module)
    if not RECORDS[name].free:
        with pytest.raises(TargetError, match="all are pinned"):
            _error(name, analysis, 0)
        return
    for seed in range(2):
        assert _error(name, analysis, seed) <= LIMIT


def test_every_rule_has_a_record_or_a_reason() -> None:
    met = {
        getattr(node.target, "_overloadpacket", None)
        for name in RECORDS
        for node in _captured(name)[1].module.graph.nodes
    }
    packets = {
        target._overloadpacket
        for target in RULES
        if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten"
    }
    names = {packet.__name__ for packet in packets - met}
    assert names - set(REASONS) == set(), "rules without a record"
    assert set(REASONS) - names == set(), "reasons that are not needed"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("flip", POINTWISE), ("cumsum", POINTWISE), ("glu", MOVE), ("mm", POINTWISE)],
)
def test_a_wrong_rule_does_not_pass(
    name: str, wrong: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, captured = _captured(name)
    (node,) = [
        n
        for n in captured.module.graph.nodes
        if str(getattr(n.target, "_overloadpacket", "")) == f"aten.{name}"
    ]
    monkeypatch.setitem(RULES, node.target, wrong)
    with pytest.raises((AssertionError, GraphpruneError, RuntimeError, pytest.fail.Exception)):
        test_shrunk_is_what_the_call_gives_on_kept_channels(name)
