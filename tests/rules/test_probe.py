"""What the deletion probe tries out, how often, and what it leaves as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from probing import T, aten, call, operator, places, probed
from torch import Tensor

from graphprune.rules.context import Context
from graphprune.rules.probe import Findings, probe
from graphprune.rules.probed import label_probed
from graphprune.rules.trial import Signature, signature_of, tensor_nodes


@pytest.mark.parametrize(
    ("op", "arguments", "why"),
    [
        (aten.relu_.default, (T(2, 6),), "memory"),
        (aten.transpose.int, (T(2, 6), 0, 1), "memory"),
        (aten.bernoulli.default, (T(2, 6),), "random"),
        (aten.rand_like.default, (T(2, 6),), "random"),
        (aten.nonzero.default, (T(2, 6),), "shape of its result"),
        (aten.gather.default, (T(2, 6), 1, torch.zeros(2, 3, dtype=torch.int64)), "int64"),
        (aten.relu.default, (T(2, 6, dtype=torch.float16),), "float16"),
        (aten.relu.default, (T(2**13, 2**13, device="meta"),), "too large"),
    ],
)
def test_what_may_not_be_tried_out_is_not(op: Any, arguments: Any, why: str) -> None:
    node = call(aten.relu.default, T(2, 6))
    graph, root = node.graph, tensor_nodes(node)[0]
    tensors = [root]
    root.meta["val"] = arguments[0]
    given: list[Any] = [root]
    for argument in arguments[1:]:
        if isinstance(argument, Tensor):
            with graph.inserting_before(node):
                extra = graph.get_attr("w0")
            extra.meta["val"] = argument
            tensors.append(extra)
            argument = extra
        given.append(argument)
    node.target, node.args = op, tuple(given)
    node.meta["val"] = arguments[0]
    found = signature_of(node)
    assert isinstance(found, str)
    assert why in found


def test_a_size_among_the_arguments_is_a_size() -> None:
    op = operator(lambda x, n: x * 2, "sized", "(Tensor x, int[] n) -> Tensor")
    free, held = probed(op, T(2, 6, 5), [4]), probed(op, T(2, 6, 5), [6])
    assert isinstance(free, Findings)
    assert isinstance(held, Findings)
    assert {axis.members[0] for axis in free.axes} == {(0, 0), (0, 1), (0, 2)}
    assert {axis.members[0] for axis in held.axes} == {(0, 0), (0, 2)}
    assert held.why[0, 1] == "the size 6 stands among its arguments"


def test_the_random_state_is_left_as_it_was() -> None:
    signature = signature_of(call(operator(torch.sin, "untouched"), T(2, 6, 5)))
    assert isinstance(signature, Signature)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert probe(signature, places(signature)).axes
    assert torch.equal(torch.rand(3), expected)


def test_an_operator_is_probed_once_for_equal_calls() -> None:
    runs = []

    def counted(x: Tensor) -> Tensor:
        runs.append(1)
        return x.sin()

    op = operator(counted, "counted")
    probed(op, T(2, 6, 5))
    once = len(runs)
    probed(op, T(2, 6, 5))
    assert len(runs) == once + 1  # the one run is this test's own


def test_labels_of_a_grid_lose_the_same_columns_in_every_row() -> None:
    op = operator(torch.sin, "on_a_grid")
    node = call(op, T(4, 6))
    context = Context(node=node)
    (argument,) = tensor_nodes(node)
    context.labels[argument] = (context.store.allocate(24).reshape(4, 6),)
    labels = label_probed(context, node)
    assert isinstance(labels, tuple)
    (slot,) = labels
    assert tuple(slot.shape) == (1, 6)
    roots = context.store.roots().reshape(4, 6)
    assert (roots == roots[:1]).all()
    assert np.unique(roots).size == 6
    assert not context.store.pins
