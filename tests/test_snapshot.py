"""Snapshots: every kind of change is seen, and what is no change is not."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable

import pytest
import torch
from torch import fx, nn

from graphprune.graph.snapshot import Snapshot


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("offset", torch.tensor([1.0, float("nan"), 0.0, 2.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.drop(self.first(x))) + self.offset


@pytest.fixture
def module() -> fx.GraphModule:
    return fx.symbolic_trace(Net())


def rename(module: fx.GraphModule) -> None:
    next(iter(module.graph.find_nodes(op="placeholder"))).name = "renamed"


def retarget(module: fx.GraphModule) -> None:
    (relu,) = module.graph.find_nodes(op="call_function", target=torch.relu)
    relu.target = torch.sigmoid


def reargument(module: fx.GraphModule) -> None:
    (add,) = module.graph.find_nodes(op="call_function", target=operator.add)
    add.args = (add.args[0], 1.0)


def insert(module: fx.GraphModule) -> None:
    (relu,) = module.graph.find_nodes(op="call_function", target=torch.relu)
    with module.graph.inserting_after(relu):
        module.graph.call_function(torch.relu, (relu,))


def replace_parameter(module: fx.GraphModule) -> None:
    module.first.weight = nn.Parameter(torch.zeros(2, 3))


def freeze(module: fx.GraphModule) -> None:
    module.first.weight = nn.Parameter(module.first.weight.detach(), requires_grad=False)


def write_parameter(module: fx.GraphModule) -> None:
    with torch.no_grad():
        module.first.weight[0, 0] += 1.0


def write_buffer(module: fx.GraphModule) -> None:
    module.offset.zero_()


def remove_buffer(module: fx.GraphModule) -> None:
    del module.offset


def add_module(module: fx.GraphModule) -> None:
    module.add_module("extra", nn.ReLU())


def replace_module(module: fx.GraphModule) -> None:
    module.drop = nn.Identity()


def set_option(module: fx.GraphModule) -> None:
    module.drop.p = 0.25


def set_training(module: fx.GraphModule) -> None:
    module.drop.eval()


CHANGES = [
    (rename, "the graph"),
    (retarget, "the graph"),
    (reargument, "the graph"),
    (insert, "the graph"),
    (replace_parameter, "tensor 'first.weight'"),
    (freeze, "tensor 'first.weight'"),
    (write_parameter, "tensor 'first.weight'"),
    (write_buffer, "tensor 'offset'"),
    (remove_buffer, "tensor 'offset'"),
    (add_module, "module 'extra'"),
    (replace_module, "module 'drop'"),
    (set_option, "module 'drop'"),
    (set_training, "module 'drop'"),
]


@pytest.mark.parametrize(
    ("change", "what"), CHANGES, ids=lambda case: getattr(case, "__name__", "")
)
def test_a_change_is_seen(
    module: fx.GraphModule, change: Callable[[fx.GraphModule], None], what: str
) -> None:
    other = copy.deepcopy(module)
    before = Snapshot.take(module, contents=True)
    change(module)
    after = Snapshot.take(module, contents=True)
    assert before.changes_to(after) == [what]
    assert before.new_contents(after) == [what]
    assert Snapshot.take(other).differences_from(after) == [what]


def test_nothing_changed(module: fx.GraphModule) -> None:
    before = Snapshot.take(module)
    module(torch.randn(2, 3))
    module.recompile()
    for node in module.graph.nodes:
        node.meta["note"] = "metadata does not run"
    assert before.changes_to(Snapshot.take(module)) == []


def test_a_copy_differs_in_identity_but_not_in_content(module: fx.GraphModule) -> None:
    before, after = Snapshot.take(module), Snapshot.take(copy.deepcopy(module))
    assert before.changes_to(after) == [
        "tensor 'first.weight'",
        "tensor 'first.bias'",
        "tensor 'offset'",
    ]
    assert before.differences_from(after) == []


def test_a_write_through_data_is_seen_by_content_only(module: fx.GraphModule) -> None:
    other = Snapshot.take(copy.deepcopy(module))
    before = Snapshot.take(module, contents=True)
    module.first.weight.data.mul_(2)
    after = Snapshot.take(module, contents=True)
    assert before.changes_to(after) == []
    assert before.new_contents(after) == ["tensor 'first.weight'"]
    assert other.differences_from(after) == ["tensor 'first.weight'"]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16, torch.complex64])
def test_buffers_of_any_dtype(dtype: torch.dtype) -> None:
    module = fx.symbolic_trace(nn.Identity())
    module.register_buffer("flags", torch.tensor([1, 0, 1]).to(dtype))
    other = copy.deepcopy(module)
    assert Snapshot.take(module).differences_from(Snapshot.take(other)) == []
    before = Snapshot.take(other, contents=True)
    assert before.new_contents(Snapshot.take(module, contents=True)) == []
    other.flags[0] = 0
    assert Snapshot.take(module).differences_from(Snapshot.take(other)) == ["tensor 'flags'"]
    assert before.new_contents(Snapshot.take(other, contents=True)) == ["tensor 'flags'"]


def test_contents_of_tensors_of_any_form() -> None:
    module = fx.symbolic_trace(nn.Identity())
    complex_ones = torch.ones(2, 3, dtype=torch.complex64)
    forms = {
        "scalar": torch.tensor(1.0),
        "empty": torch.zeros(0, 3),
        "strided": torch.ones(4, 4)[::2].t(),
        "conjugate": complex_ones.conj(),
        "nowhere": torch.ones(2, device="meta"),
        "sparse": torch.eye(2).to_sparse(),
    }
    for name, tensor in forms.items():
        module.register_buffer(name, tensor)
    before = Snapshot.take(module, contents=True)
    assert before.new_contents(Snapshot.take(module, contents=True)) == []
    complex_ones.mul_(1j)
    forms["scalar"].zero_()
    found = before.new_contents(Snapshot.take(module, contents=True))
    assert found == ["tensor 'scalar'", "tensor 'conjugate'"]


def test_inference_tensors_have_no_version_counter() -> None:
    with torch.inference_mode():
        module = fx.symbolic_trace(nn.Linear(2, 2))
        module.register_buffer("offset", torch.ones(2))
    snapshot = Snapshot.take(module)
    assert snapshot.changes_to(Snapshot.take(module)) == []


def test_graphs_of_submodules_count(module: fx.GraphModule) -> None:
    outer = fx.symbolic_trace(nn.Sequential(nn.ReLU()))
    outer.inner = module
    before = Snapshot.take(outer)
    retarget(module)
    assert before.changes_to(Snapshot.take(outer)) == ["graph 'inner'"]
