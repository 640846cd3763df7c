"""Small graphs whose groups and pins can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from engine_oracle import LIMIT, prune
from hand_worked import Net, Tensor, conv, examine, groups, half, pins, without
from torch import nn
from torch.nn import functional as F

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.choosing.plan import plan_from_classes


def test_chain() -> None:
    net = Net(lambda m, x: m.b(m.n(m.a(x)).relu()), a=conv(3, 8), n=nn.BatchNorm2d(8), b=conv(8, 5))
    analysis = examine(net)
    norm = {(f"n.{name}", 0) for name in ("weight", "bias", "running_mean", "running_var")}
    members = {("a.weight", 0), ("a.bias", 0), ("b.weight", 1)} | norm
    assert groups(analysis) == {"a.weight": (8, members)}
    assert set(analysis.graph.nodes) == members
    named = {op for _, _, data in analysis.graph.edges(data=True) for op in data["ops"]}
    assert named <= {node.name for node in analysis.module.graph.nodes}
    assert {"conv2d", "batch_norm", "conv2d_1"} <= named
    assert all(data["group"] == "a.weight" for _, data in analysis.graph.nodes(data=True))


def test_inputs_and_outputs_are_protected_without_being_told() -> None:
    analysis = examine(Net(lambda m, x: m.b(m.a(x).relu()), a=conv(3, 8), b=conv(8, 5)))
    (reason,) = pins(analysis, "b.weight", 0)
    assert reason == "output of the model"
    assert pins(analysis, "b.bias", 0) == ["output of the model"]
    (pin,) = [p for p in analysis.pinned if (p.parameter, p.dim) == ("a.weight", 1)]
    assert pin.reason == "contraction conv2d: meets an input of the model"
    assert pin.channels == 3
    assert pin.node == "conv2d"
    assert "hand_worked.py:" in pin.source  # where the forward is written


def test_residual_stream_is_one_group() -> None:
    net = Net(
        lambda m, x: m.out(m.b(m.a(y := m.stem(x)).relu()) + y),
        stem=conv(3, 8),
        a=conv(8, 6),
        b=conv(6, 8),
        out=conv(8, 2),
    )
    stream = {("stem.weight", 0), ("stem.bias", 0), ("a.weight", 1)}
    stream |= {("b.weight", 0), ("b.bias", 0), ("out.weight", 1)}
    inner = {("a.weight", 0), ("a.bias", 0), ("b.weight", 1)}
    assert groups(examine(net)) == {"stem.weight": (8, stream), "a.weight": (6, inner)}
    graph = examine(net).graph
    assert any("add" in data["ops"] for _, _, data in graph.edges(data=True))
    assert half(net).plan.widths == {"stem.weight": (8, 4), "a.weight": (6, 3)}


def test_padded_shortcut_links_the_narrow_channels_to_the_middle_of_the_wide() -> None:
    """Option A of the CIFAR ResNets: 4 channels, padded by 2 on either side, added to 8."""
    net = Net(
        lambda m, x: m.out(F.pad(y := m.a(x), (0, 0, 0, 0, 2, 2)) + m.b(y)),
        a=conv(3, 4),
        b=conv(4, 8),
        out=conv(8, 2),
    )
    analysis = examine(net)
    members = {("a.weight", 0), ("a.bias", 0), ("b.weight", 1)}
    members |= {("b.weight", 0), ("b.bias", 0), ("out.weight", 1)}
    assert groups(analysis) == {"a.weight": (8, members)}
    # Remove a's channel 1, which is b's channel 3, and b's channel 7, which is padding beside a's.
    classes = without(analysis, "a.weight", 0, [1])
    classes &= without(analysis, "b.weight", 0, [7])
    plan = plan_from_classes(analysis, classes)
    assert plan.kept["a.weight"] == {0: [0, 2, 3]}
    assert plan.kept["b.weight"] == {0: [0, 1, 2, 4, 5, 6], 1: [0, 2, 3]}
    assert plan.kept["out.weight"] == {1: [0, 1, 2, 4, 5, 6]}
    half(net)


def test_several_inputs_and_a_dict_of_outputs() -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 8), nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor, *, y: Tensor) -> dict[str, Any]:
            both = self.a(x).tanh() + self.b(y)
            return {"score": self.c(both), "parts": (both.sum(1), self.c(both.relu()))}

    captured = capture(Several(), ((torch.randn(2, 3),), {"y": torch.randn(2, 4)}))
    result = prune(captured, analyse(captured.module), "channels=0.5")
    assert result.error <= LIMIT
    assert result.plan.widths == {"a.weight": (8, 4)}
    with torch.no_grad():
        output = result.small(torch.randn(5, 3), y=torch.randn(5, 4))
    assert {key: type(value) for key, value in output.items()} == {"score": Tensor, "parts": tuple}
    assert output["score"].shape == (5, 2)


def test_a_channel_that_is_an_output_as_well_stays() -> None:
    net = Net(lambda m, x: (y := m.a(x), m.b(y)), a=conv(3, 8), b=conv(8, 2))
    analysis = examine(net)
    assert analysis.groups == ()
    assert "output of the model" in pins(analysis, "a.weight", 0)


@torch.library.custom_op("graphprune_tests::mystery", mutates_args=())
def mystery(x: Tensor) -> Tensor:
    """An operation that nothing is known of, and that mixes its channels up."""
    return x + x.roll(1, 1)


@mystery.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_an_unknown_operation_pins_what_reaches_it_and_says_so() -> None:
    class Mysterious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = conv(3, 8), conv(8, 6), conv(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            x = mystery(x)
            return self.c(self.b(x))

    analysis = examine(Mysterious())
    assert set(groups(analysis)) == {"b.weight"}
    (pin,) = [p for p in analysis.pinned if (p.parameter, p.dim) == ("a.weight", 0)]
    assert pin.reason.startswith("no rule for graphprune_tests.mystery.default")
    assert pin.channels == 8
    assert pin.source.endswith(": x = mystery(x)")
    half(Mysterious())


@pytest.mark.parametrize("kind", ["softmax", "sort", "cumsum", "log_softmax", "prod"])
def test_operations_that_see_all_channels_lock_them(kind: str) -> None:
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "softmax": lambda y: y.softmax(1),
        "sort": lambda y: y.sort(1).values,
        "cumsum": lambda y: y.cumsum(1),
        "log_softmax": lambda y: y.log_softmax(1),
        "prod": lambda y: y * y.prod(1, keepdim=True),
    }
    net = Net(lambda m, x: m.out(calls[kind](m.a(x))), a=conv(3, 8), out=conv(8, 2))
    analysis = examine(net)
    assert analysis.groups == ()
    (reason,) = pins(analysis, "a.weight", 0)
    assert reason.startswith(("normalised over", "reduced by"))


def test_one_dimensional_convolution_over_channels_pins() -> None:
    """Efficient channel attention slides a kernel along the channels."""
    net = Net(
        lambda m, x: m.out((y := m.a(x)) * m.eca(y.mean((2, 3))[:, None])[:, 0, :, None, None]),
        a=conv(3, 8),
        eca=nn.Conv1d(1, 1, 3, padding=1),
        out=conv(8, 2),
    )
    analysis = examine(net)
    assert analysis.groups == ()
    assert "space of conv1d" in pins(analysis, "a.weight", 0)[0]
