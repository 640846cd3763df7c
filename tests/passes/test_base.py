"""The pass contract: making passes from text, running them, and telling what they changed."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import fx, nn

from graphprune.errors import PassError, UsageError
from graphprune.passes import (
    GraphPass,
    PassBase,
    PassResult,
    make_pass,
    pass_name,
    run_passes,
)
from graphprune.registry import Registry


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x)) + 1.0


@pytest.fixture
def module() -> fx.GraphModule:
    return fx.symbolic_trace(Net())


@dataclass(frozen=True)
class Shift(GraphPass):
    """Sets the constant that is added."""

    name: ClassVar[str] = "shift"
    by: float = 2.0
    log: list[str] = field(default_factory=list, compare=False)

    def requires(self, graph_module: fx.GraphModule) -> None:
        self.log.append("requires")

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        self.log.append("call")
        (add,) = graph_module.graph.find_nodes(op="call_function", target=operator.add)
        modified = add.args[1] != self.by
        add.args = (add.args[0], self.by)
        return PassResult(graph_module, modified)

    def ensures(self, graph_module: fx.GraphModule) -> None:
        self.log.append("ensures")


class PlainTorchPass(PassBase):
    """As written for torch.fx: no name, no options, None for a rewrite in place."""

    def call(self, graph_module: fx.GraphModule) -> PassResult | None:
        for node in graph_module.graph.find_nodes(op="call_function", target=torch.relu):
            node.target = torch.sigmoid
        return None


class Does(PassBase):
    """Calls a function on the module and returns what is given."""

    def __init__(self, action: Any = None, result: Any = None, name: Any = None) -> None:
        self.action, self.result, self.name = action, result, name

    def call(self, graph_module: fx.GraphModule) -> PassResult | None:
        if self.action is not None:
            self.action(graph_module)
        if isinstance(self.result, bool):
            return PassResult(graph_module, self.result)
        return self.result


def zero_weight(module: fx.GraphModule) -> None:
    with torch.no_grad():
        module.linear.weight.zero_()


def break_graph(module: fx.GraphModule) -> None:
    next(iter(module.graph.find_nodes(op="call_module"))).target = "no_such_module"


def fail(module: fx.GraphModule) -> None:
    raise KeyError("first line\nsecond line")


def refuse(module: fx.GraphModule) -> None:
    raise UsageError("the graph has no linear layer; give another model")


def test_passes_run_in_order_and_the_module_is_recompiled(module: fx.GraphModule) -> None:
    x = torch.randn(2, 3)
    expected = torch.sigmoid(module.linear(x)) + 5.0
    result = run_passes(module, [Shift(3.0), PlainTorchPass(), Shift(5.0)])
    assert result.modified is True
    torch.testing.assert_close(result.graph_module(x), expected)


def test_requires_call_ensures(module: fx.GraphModule) -> None:
    shift = Shift(3.0)
    run_passes(module, [shift])
    assert shift.log == ["requires", "call", "ensures"]


def test_modified_is_found_by_comparing(module: fx.GraphModule) -> None:
    assert run_passes(module, []).modified is False
    assert run_passes(module, [Shift(1.0)]).modified is False
    assert run_passes(module, [Does(result=True)]).modified is False  # a claim without a change
    assert run_passes(module, [Does(result=None)]).modified is False
    assert run_passes(module, [Does(zero_weight)]).modified is True
    assert run_passes(module, [Shift(2.0), Shift(2.0)]).modified is True


def test_a_denied_change_is_refused(module: fx.GraphModule) -> None:
    with pytest.raises(PassError, match=r"'Does'.*reports no change, but changed tensor 'linear"):
        run_passes(module, [Does(zero_weight, result=False)])


def test_a_new_module_may_be_returned(module: fx.GraphModule) -> None:
    other = fx.symbolic_trace(Net())
    result = run_passes(module, [Does(result=PassResult(other, True)), Shift(7.0)])
    assert result.graph_module is other
    assert (other.graph.find_nodes(op="call_function", target=operator.add))[0].args[1] == 7.0


@pytest.mark.parametrize(
    ("pass_", "message"),
    [
        (Does(fail), "pass 'Does', run after shift, PlainTorchPass, failed: KeyError: "),
        (Does(refuse, name="own"), "pass 'own', run after shift, PlainTorchPass, failed: the gr"),
        (Does(break_graph), "no_such_module"),
        (Does(result="text"), "it returned a str, not a PassResult"),
        (Does(result=PassResult(nn.ReLU(), True)), "its result holds a ReLU, not a GraphModule"),
    ],
)
def test_a_failure_names_the_pass_and_those_before_it(
    module: fx.GraphModule, pass_: PassBase, message: str
) -> None:
    with pytest.raises(PassError) as caught:
        run_passes(module, [Shift(3.0), PlainTorchPass(), pass_, Shift(4.0)])
    text = str(caught.value)
    assert message in text
    assert "run after shift, PlainTorchPass, failed" in text
    assert "\n" not in text


def test_a_failure_of_the_first_pass(module: fx.GraphModule) -> None:
    with pytest.raises(PassError, match="pass 'Does', run as the first pass, failed: KeyError"):
        run_passes(module, [Does(fail)])


@pytest.mark.parametrize("hook", ["requires", "ensures"])
def test_a_failed_check_refuses_the_graph(
    module: fx.GraphModule, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shift, hook, lambda self, graph_module: refuse(graph_module))
    with pytest.raises(PassError, match=r"pass 'shift'.*has no linear layer"):
        run_passes(module, [Shift()])


def test_an_interrupt_is_not_swallowed(module: fx.GraphModule) -> None:
    def interrupt(_: fx.GraphModule) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_passes(module, [Does(interrupt)])


def test_names() -> None:
    assert pass_name(Shift()) == "shift"
    assert pass_name(PlainTorchPass()) == "PlainTorchPass"
    assert pass_name(Does(name=3)) == "Does"


finished = Shift(9.0)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry("graphprune.test_passes")
    for name, target in {
        "shift": Shift,
        "plain": PlainTorchPass,
        "finished": finished,
        "number": 3,
        "path": dict,
    }.items():
        registry.register(name, target)
    monkeypatch.setattr("graphprune.passes.base.PASSES", registry)


@pytest.mark.usefixtures("registered")
def test_passes_are_made_from_text() -> None:
    assert make_pass("shift") == Shift()
    assert make_pass("shift{by=4}") == Shift(4.0)
    assert isinstance(make_pass("plain"), PlainTorchPass)
    assert make_pass("finished") is finished


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shift{to=4}", "shift has no option 'to'; known are by, log"),
        ("shift{by=far}", "option 'by' of shift: 'far' is not a valid float"),
        ("shift{by=4", "not of the form"),
        ("plain{by=4}", "plain has no option 'by'; it takes none"),
        ("finished{by=4}", "finished is a finished pass and takes no options"),
        ("number", "number is not a graph pass"),
        ("path", "path is not a graph pass; derive it from graphprune.passes.GraphPass"),
        ("nonsense", "'nonsense' is not registered"),
    ],
)
def test_wrong_text_is_a_usage_error(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_pass(text)
    assert message in str(caught.value)


def test_a_path_names_a_class_that_nobody_registered(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_passes.py").write_text(
        "from torch.fx.passes.infra.pass_base import PassBase, PassResult\n"
        "class Nothing(PassBase):\n"
        "    def call(self, graph_module):\n"
        "        return PassResult(graph_module, False)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    made = make_pass("my_passes:Nothing")
    assert type(made).__name__ == "Nothing"
    assert run_passes(fx.symbolic_trace(Net()), [made]).modified is False
