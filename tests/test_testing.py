"""The test helper for users' passes, and that it fails where it should."""

from __future__ import annotations

import copy
import operator
from typing import Any

import pytest
import torch
from torch import fx, nn

from graphprune.errors import PassError
from graphprune.passes import PassBase, PassResult
from graphprune.testing import assert_pass


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.relu(self.linear(x))) + 1.0


class MergeRelus(PassBase):
    """relu(relu(x)) becomes relu(x)."""

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        modified = False
        for node in graph_module.graph.nodes:
            source = node.args[0] if node.args else None
            if node.target is torch.relu and getattr(source, "target", None) is torch.relu:
                node.replace_all_uses_with(source)
                modified = True
        graph_module.graph.eliminate_dead_code()
        return PassResult(graph_module, modified)


class Says(PassBase):
    """Does what it is given to do, and reports what it is told to report."""

    def __init__(self, modified: bool | None, action: Any = None) -> None:
        self.modified, self.action = modified, action

    def call(self, graph_module: fx.GraphModule) -> PassResult | None:
        if self.action is not None:
            self.action(graph_module)
        return None if self.modified is None else PassResult(graph_module, self.modified)


def add_two(module: fx.GraphModule) -> None:
    (add,) = module.graph.find_nodes(op="call_function", target=operator.add)
    add.args = (add.args[0], 2.0)


def double_secretly(module: fx.GraphModule) -> None:
    module.linear.weight.data.mul_(2)


@pytest.fixture
def module() -> fx.GraphModule:
    return fx.symbolic_trace(Net())


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(5, 3)


def test_a_good_pass(module: fx.GraphModule, x: torch.Tensor) -> None:
    result = assert_pass(MergeRelus(), module=module, inputs=x)
    assert result.modified is True
    relus = result.graph_module.graph.find_nodes(op="call_function", target=torch.relu)
    assert len(relus) == 1
    again = assert_pass(MergeRelus(), module=result.graph_module, inputs=(x,), modified=False)
    assert again.modified is False


def test_the_module_given_is_not_changed(module: fx.GraphModule, x: torch.Tensor) -> None:
    expected, code = copy.deepcopy(module)(x) + 1.0, module.code
    assert_pass(Says(True, add_two), module=module, inputs={"x": x}, expected=expected)
    assert module.code == code
    torch.testing.assert_close(module(x), expected - 1.0)


def test_a_model_is_captured_first(x: torch.Tensor) -> None:
    assert_pass(Says(False), module=Net(), inputs=x, modified=False)


@pytest.mark.parametrize(
    ("pass_", "arguments", "message"),
    [
        (Says(True, add_two), {}, "Tensor-likes are not close"),
        (Says(None, add_two), {}, "Tensor-likes are not close"),
        (Says(True), {}, "reports modified=True, but nothing has changed"),
        (Says(None), {}, "reports modified=True, but nothing has changed"),
        (Says(False, double_secretly), {}, "reports modified=False, but changed tensor 'linear.w"),
        (MergeRelus(), {"modified": False}, "reports modified=True, not False"),
        (Says(False), {"modified": True}, "reports modified=False, not True"),
        (MergeRelus(), {"expected": torch.arange(20.0).view(5, 4)}, "not close"),
        (MergeRelus(), {"expected": torch.ones(5, 4)}, "every output is constant"),
    ],
)
def test_it_fails(
    module: fx.GraphModule, x: torch.Tensor, pass_: PassBase, arguments: Any, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_pass(pass_, module=module, inputs=x, **arguments)


def test_it_fails_on_a_denied_change(module: fx.GraphModule, x: torch.Tensor) -> None:
    with pytest.raises(PassError, match="reports no change"):
        assert_pass(Says(False, add_two), module=module, inputs=x)


def test_it_fails_on_a_broken_graph(module: fx.GraphModule, x: torch.Tensor) -> None:
    def unknown(broken: fx.GraphModule) -> None:
        next(iter(broken.graph.find_nodes(op="call_module"))).target = "nowhere"

    with pytest.raises(PassError, match="nowhere"):
        assert_pass(Says(True, unknown), module=module, inputs=x)


def test_it_refuses_constant_outputs(x: torch.Tensor) -> None:
    net = Net()
    nn.init.zeros_(net.linear.weight)
    nn.init.zeros_(net.linear.bias)
    with pytest.raises(AssertionError, match="every output is constant"):
        assert_pass(MergeRelus(), module=fx.symbolic_trace(net), inputs=x)


def test_random_numbers_are_the_same_before_and_after(x: torch.Tensor) -> None:
    net = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)))
    net.train()
    state = torch.random.get_rng_state()
    assert_pass(Says(False), module=net, inputs=x)
    assert torch.equal(torch.random.get_rng_state(), state)
