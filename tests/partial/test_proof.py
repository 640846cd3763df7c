"""The certificate of a model in parts fails whenever something is wrong."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
import torch
from partial_models import Branches, Pyramid, Reader, block
from torch import nn

from graphprune import analyse, capture, compress
from graphprune.errors import CertificateError
from graphprune.partial.calls import serves, signature, with_rows
from graphprune.partial.expose import expose
from graphprune.partial.observe import observe, read_outside
from graphprune.partial.parts import find_parts
from graphprune.partial.prove import certify_class, certify_whole
from graphprune.partial.reference import PartReference
from graphprune.partial.result import PartialCompressed


@pytest.fixture(scope="module")
def proved() -> tuple[nn.Module, PartialCompressed, Any]:
    torch.manual_seed(0)
    model = Branches().eval()
    x = torch.randn(4, 6)
    result = compress(model, x, method="l2")
    assert isinstance(result, PartialCompressed)
    return model, result, ((x,), {})


def _whole(model: nn.Module, pruned: nn.Module, result: PartialCompressed, inputs: Any) -> Any:
    parts = {part.name: part for part in find_parts(copy.deepcopy(model), inputs).parts}
    references = {name: PartReference(parts[name], plan) for name, plan in result.plan.items()}
    return certify_whole(model, pruned, references, inputs, limit=1e-4)


def test_the_right_model_passes(proved: Any) -> None:
    model, result, inputs = proved
    proof = _whole(model, copy.deepcopy(result.model), result, inputs)
    assert proof.calls == 6
    assert proof.values == 36
    assert not proof.note(1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("left.0.weight", "left, called by the whole model, differs"),
        ("stem.2.bias", "stem, called by the whole model, differs"),
        ("out.bias", "out.bias, outside of the pruned parts, is not what it was"),
        ("right.0.weight", "right.0.weight, outside of the pruned parts"),
    ],
)
def test_a_wrong_weight_fails(proved: Any, name: str, message: str) -> None:
    model, result, inputs = proved
    wrong = copy.deepcopy(result.model)
    with torch.no_grad():
        wrong.get_parameter(name)[-1] *= 2
    with pytest.raises(CertificateError, match=message):
        _whole(model, wrong, result, inputs)


def test_a_change_of_the_code_outside_fails(proved: Any) -> None:
    model, result, inputs = proved
    wrong = copy.deepcopy(result.model)
    wrong.out.register_forward_hook(lambda _, __, output: output + 1)
    with pytest.raises(CertificateError, match="outside of the parts the pruned model differs"):
        _whole(model, wrong, result, inputs)


class Labels(Branches):
    """Answers with a label that rounding decides on."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        y = super().forward(x)
        return y, (y * 1e6).long()


def test_labels_that_rounding_decides_on_are_said_to_differ() -> None:
    torch.manual_seed(0)
    model, inputs = Labels().eval(), ((torch.randn(4, 6),), {})
    result = compress(model, *inputs[0], method="l2")
    assert isinstance(result, PartialCompressed)
    pruned = copy.deepcopy(result.model)
    # Of the size of a rounding error, and within the limit.
    pruned.get_submodule("stem").register_forward_hook(lambda _, __, output: output + 1e-5)
    proof = _whole(model, pruned, result, inputs)
    assert proof.end_to_end is None
    assert "whole numbers" in proof.note(1e-4)
    json.dumps(dataclasses.asdict(proof), allow_nan=False)


def test_a_part_put_back_wrong_fails() -> None:
    model, inputs = Pyramid().eval(), ((torch.randn(2, 3, 12, 12),), {})
    result = compress(model, *inputs[0], method="l2")
    assert isinstance(result, PartialCompressed)
    (part,) = find_parts(copy.deepcopy(model), inputs).parts
    reference = PartReference(part, result.plan["part"])
    module = result.model.get_submodule("part")
    assert certify_class("part", module, part.graphs, reference, limit=1e-4) < 1e-5
    with torch.no_grad():
        module[0].weight[0] *= 2
    with pytest.raises(CertificateError, match="part, put back, differs"):
        certify_class("part", module, part.graphs, reference, limit=1e-4)


class Picker(Branches):
    """How long the input of a part is depends on what another part returns."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        if float(h.sum()) < -1e6:
            return self.out(x)
        found = self.left(h[h[:, 0] > h[:, 1]].unsqueeze(0))
        return self.out(self.right(x) + found.sum(1))


def test_calls_that_nothing_was_captured_for_are_counted_and_not_compared() -> None:
    torch.manual_seed(0)
    model, inputs = Picker().eval(), ((torch.randn(40, 6),), {})
    result = compress(model, *inputs[0], method="l2")
    assert isinstance(result, PartialCompressed)
    proof = _whole(model, copy.deepcopy(result.model), result, inputs)
    assert proof.unchecked
    assert "not compared" in proof.note(1e-4)
    wrong = copy.deepcopy(result.model)
    wrong.out.register_forward_hook(lambda _, __, output: output + 1)
    with pytest.raises(CertificateError, match="outside of the parts the pruned model differs"):
        _whole(model, wrong, result, inputs)


def test_reads_from_outside_are_found() -> None:
    model = Reader().eval()
    parts = {name: model.get_submodule(name) for name in ("read", "first", "second", "free")}
    found = read_outside(model, ((torch.randn(4, 6),), {}), parts)
    assert found == {
        "read": frozenset({"0.weight"}),
        "first": frozenset({"0.weight"}),
        "second": frozenset({"0.weight"}),
        "free": frozenset(),
    }


def test_an_exposed_tensor_is_pinned_and_nothing_else() -> None:
    model = nn.Sequential(block(), block(12))
    captured = capture(model, torch.randn(4, 6))
    assert [g.size for g in analyse(captured.module).groups] == [16, 6, 12]
    exposed = expose(captured, ["0.0.weight"])
    assert [g.size for g in analyse(exposed).groups] == [6, 12]
    outputs, (weight,) = exposed(torch.ones(4, 6))
    assert torch.equal(weight, model[0][0].weight)
    assert torch.allclose(outputs, model(torch.ones(4, 6)))
    assert expose(captured, []) is captured.module


def test_calls_are_counted_and_told_apart() -> None:
    model = Pyramid().eval()
    watched = {"part": model.part, "first": model.part[0]}
    seen = observe(model, ((torch.randn(2, 3, 12, 12),), {}), watched)
    assert seen["part"].count == seen["first"].count == 2
    assert [tuple(a[0].shape) for a, _ in seen["part"].examples] == [(2, 3, 12, 12), (2, 3, 6, 6)]
    macs = 2 * (12 * 12 + 6 * 6) * 12 * 27
    assert seen["first"].flops == 2 * macs


def test_a_graph_serves_other_batches_but_no_other_shapes() -> None:
    captured = capture(block(), torch.randn(4, 6))
    assert serves(captured, ((torch.randn(9, 6),), {}))
    assert serves(captured, ((torch.randn(0, 6),), {}))
    assert not serves(captured, ((torch.randn(4, 7),), {}))
    assert not serves(captured, ((torch.randn(4, 6).double(),), {}))
    assert not serves(captured, ((torch.randn(4, 6), 1), {}))


def test_signatures_tell_shapes_and_constants_apart() -> None:
    x = torch.randn(2, 3)
    assert signature(((x,), {})) == signature(((x + 1,), {}))
    others = [((x.T,), {}), ((x.int(),), {}), ((x, 1), {}), ((), {"x": x}), (([x],), {})]
    assert len({signature(other) for other in [*others, ((x,), {}), ((x, True), {})]}) == 7


def test_a_call_without_rows_gets_two() -> None:
    empty = (([torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)],), {"flag": True})
    (tensors,), kwargs = with_rows(empty)
    assert [tuple(t.shape) for t in tensors] == [(2, 3), (2,)]
    assert kwargs == {"flag": True}
    assert tensors[0].std() > 0
    full = ((torch.zeros(1, 3),), {})
    assert with_rows(full) is full
