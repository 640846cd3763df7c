"""Layers, one kind a test: which of their channels go together, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from engine_oracle import LIMIT, compare, prune, shrink
from hand_worked import IMAGE, Net, Tensor, conv, examine, groups, half, pins, without
from torch import nn
from torch.nn import functional as F

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.choosing.plan import plan_from_classes


def test_grouped_convolution_keeps_as_many_in_each_group_but_not_the_same() -> None:
    net = Net(
        lambda m, x: m.out(m.g(m.a(x))), a=conv(3, 8), g=conv(8, 12, groups=2), out=conv(12, 2)
    )
    analysis = examine(net)
    sizes = {name: size for name, (size, _) in groups(analysis).items()}
    assert sizes == {"a.weight": 8, "g.weight": 12}
    classes = without(analysis, "a.weight", 0, [0, 1, 5, 7])
    classes &= without(analysis, "g.weight", 0, [2, 6])
    plan = plan_from_classes(analysis, classes)
    # A list per row, in the order of the rows kept: five of the first group, five of the second.
    assert plan.kept["g.weight"] == {
        0: [0, 1, 3, 4, 5, 7, 8, 9, 10, 11],
        1: [[2, 3]] * 5 + [[0, 2]] * 5,
    }
    captured = capture(net, torch.randn(IMAGE))
    small = shrink(captured, analysis, plan)
    assert compare(captured, analysis, plan, small) <= LIMIT
    assert tuple(small.state_dict()["g.weight"].shape) == (10, 2, 3, 3)
    half(net)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_channels_go_with_their_outputs(multiplier: int) -> None:
    net = Net(
        lambda m, x: m.out(m.d(m.a(x))),
        a=conv(3, 6),
        d=conv(6, 6 * multiplier, groups=6),
        out=conv(6 * multiplier, 2),
    )
    analysis = examine(net)
    assert {name: size for name, (size, _) in groups(analysis).items()} == {"a.weight": 6}
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, [1, 4]))
    kept = [0, 2, 3, 5] if multiplier == 1 else [0, 1, 4, 5, 6, 7, 10, 11]
    assert plan.kept["d.weight"] == {0: kept}
    assert plan.kept["out.weight"] == {1: kept}
    result = half(net)
    (depthwise,) = [n for n in result.small.graph.nodes if n.name == "conv2d_1"]
    assert depthwise.args[-1] == 3


@pytest.mark.parametrize("number", [1, 2])
def test_transposed_convolution(number: int) -> None:
    up = nn.ConvTranspose2d(8, 4, 2, 2, groups=number)
    net = Net(lambda m, x: m.out(m.up(m.a(x))), a=conv(3, 8), up=up, out=conv(4, 2))
    analysis = examine(net)
    sizes = {name: size for name, (size, _) in groups(analysis).items()}
    assert sizes == {"a.weight": 8, "up.weight": 4}
    assert ("up.weight", 0) in groups(analysis)["a.weight"][1]
    assert ("up.weight", 1) in groups(analysis)["up.weight"][1]
    assert half(net).plan.widths == {"a.weight": (8, 4), "up.weight": (4, 2)}


def test_batch_norm_and_prelu_follow_their_channels() -> None:
    net = Net(lambda m, x: m.out(m.p(m.a(x))), a=conv(3, 6), p=nn.PReLU(6), out=conv(6, 2))
    assert ("p.weight", 0) in groups(examine(net))["a.weight"][1]
    result = half(net)
    assert result.small.state_dict()["p.weight"].shape == (3,)


@pytest.mark.parametrize("kind", ["layer", "rms", "group", "single", "instance"])
def test_norms_over_channels_use_what_is_kept(kind: str) -> None:
    norms = {
        "layer": nn.LayerNorm(8),
        "rms": nn.RMSNorm(8),
        "group": nn.GroupNorm(4, 8),
        "single": nn.GroupNorm(1, 8),
        "instance": nn.InstanceNorm2d(8, affine=True),
    }

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        last = kind in ("layer", "rms")
        y = m.n(y.movedim(1, -1)).movedim(-1, 1) if last else m.n(y)
        return m.out(y.relu())

    net = Net(forward, a=conv(3, 8), n=norms[kind], out=conv(8, 2))
    nn.init.normal_(net.n.weight)  # type: ignore[union-attr, arg-type]
    result = half(net, heads="inside")
    assert result.plan.widths == {"a.weight": (8, 4)}
    if kind == "group":  # one of the two channels of every group
        (positions,) = result.plan.kept["n.weight"].values()
        assert sorted(int(p) // 2 for p in positions) == [0, 1, 2, 3]  # type: ignore[arg-type]


def test_gated_linear_unit() -> None:
    net = Net(lambda m, x: m.out(F.glu(m.a(x), 1)), a=conv(3, 8), out=conv(4, 2))
    assert groups(examine(net))["a.weight"][0] == 4
    (kept,) = half(net).plan.kept["a.weight"].values()
    assert [int(k) + 4 for k in kept[:2]] == kept[2:]  # type: ignore[arg-type]


def test_squeeze_and_excitation() -> None:
    net = Net(
        lambda m, x: m.out((y := m.a(x)) * m.up(m.down(y.mean((2, 3), keepdim=True)).relu())),
        a=conv(3, 8),
        down=conv(8, 4, 1),
        up=conv(4, 8, 1),
        out=conv(8, 2),
    )
    found = groups(examine(net))
    assert {name: size for name, (size, _) in found.items()} == {"a.weight": 8, "down.weight": 4}
    assert {("up.weight", 0), ("down.weight", 1), ("out.weight", 1)} <= found["a.weight"][1]
    half(net)


def test_pixel_shuffle_ties_the_channels_that_become_one() -> None:
    net = Net(lambda m, x: m.out(F.pixel_shuffle(m.a(x), 2)), a=conv(3, 12), out=conv(3, 2))
    analysis = examine(net)
    assert groups(analysis)["a.weight"][0] == 3
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, [5]))
    assert plan.kept["a.weight"] == {0: [0, 1, 2, 3, 8, 9, 10, 11]}
    assert plan.kept["out.weight"] == {1: [0, 2]}
    half(net)


def test_groups_of_a_convolution_go_whole() -> None:
    net = Net(
        lambda m, x: m.out(m.g(m.a(x)).relu()),
        a=conv(3, 12),
        g=conv(12, 8, groups=4),
        out=conv(8, 2),
    )
    result = half(net, heads="whole")
    (rows,) = result.plan.kept["g.weight"].values()
    groups_kept = sorted({int(r) // 2 for r in rows})  # type: ignore[arg-type]
    assert len(groups_kept) == 2
    (grouped,) = [
        n for n in result.small.graph.nodes if n.op == "call_function" and n.args[-1] == 2
    ]
    assert grouped.args[1].target == "g.weight"


def test_embedding_with_tied_head() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
            self.head.weight = self.table.weight

        def forward(self, index: Tensor) -> Tensor:
            return self.head(self.table(index).tanh())

    captured = capture(Tied(), torch.randint(0, 11, (2, 5)))
    analysis = analyse(captured.module)
    assert [group.size for group in analysis.groups] == [8]
    assert any("vocabulary" in reason for reason in pins(analysis, analysis.groups[0].name, 0))
    result = prune(captured, analysis, "channels=0.5")
    assert result.error <= LIMIT
    tensors = result.small.state_dict(keep_vars=True)
    assert tensors["table.weight"].shape == (11, 4)
    assert tensors["table.weight"] is tensors["head.weight"]
    assert set(result.plan.kept) == {"table.weight", "head.weight"}
    assert sum(p.numel() for p in result.small.parameters()) == 44


@pytest.mark.parametrize("kind", ["var", "var_mean", "std", "amax", "amin", "logsumexp", "norm"])
def test_statistics_over_channels_are_those_of_the_channels_kept(kind: str) -> None:
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "var": lambda y: y.var(1, keepdim=True),
        "var_mean": lambda y: sum(torch.var_mean(y, 1, correction=0, keepdim=True)),  # type: ignore[arg-type, return-value]
        "std": lambda y: y.std(1).unsqueeze(1),
        "amax": lambda y: y.amax(1, keepdim=True),
        "amin": lambda y: (y + 3).amin((1, 2)).unsqueeze(1).unsqueeze(1),
        "logsumexp": lambda y: y.logsumexp(1, keepdim=True),
        "norm": lambda y: y.norm(dim=1, keepdim=True),
    }
    net = Net(lambda m, x: m.out(m.a(x) * calls[kind](m.a(x))), a=conv(3, 8), out=conv(8, 2))
    assert half(net).plan.widths == {"a.weight": (8, 4)}


@pytest.mark.parametrize("number", [1, 2])
def test_a_standardised_weight_is_standardised_over_what_is_kept(number: int) -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = conv(3, 8), conv(8, 6, groups=number), conv(6, 2)
            self.gain = nn.Parameter(torch.rand(6) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            w = self.b.weight.reshape(1, 6, -1)
            w = F.batch_norm(w, None, None, weight=self.gain, training=True, momentum=0.0)
            y = F.conv2d(self.a(x), w.reshape_as(self.b.weight), self.b.bias, groups=number)
            return self.out(y.relu())

    result = half(Standardised(), heads="inside")
    # The groups' inputs lie in the same columns of the weight that is standardised.
    expected = {1: [(6, 3), (8, 4)], 2: [(4, 2), (6, 4)]}
    assert sorted(result.plan.widths.values()) == expected[number]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_nets_lose_inputs_and_hidden_units(
    kind: type[nn.RNNBase], both: bool, layers: int
) -> None:
    net = Net(
        lambda m, x: m.out(m.rnn(m.a(x).relu())[0]),
        a=nn.Linear(3, 8),
        rnn=kind(8, 6, layers, batch_first=True, bidirectional=both),
        out=nn.Linear(12 if both else 6, 2),
    )
    result = half(net, 2, 5, 3)
    assert result.plan.widths == {"a.weight": (8, 4), "rnn.weight_ih_l0": (6, 3)}
    assert len(result.plan.kept["out.weight"][1]) == (6 if both else 3)


def test_last_states_of_a_recurrent_net() -> None:
    net = Net(
        lambda m, x: m.out(torch.cat(m.rnn(m.a(x))[1], 2).flatten(1)),
        a=nn.Linear(3, 8),
        rnn=nn.LSTM(8, 6, 2, batch_first=True),
        out=nn.Linear(24, 2),
    )
    captured = capture(net.eval(), torch.randn(2, 5, 3), dynamic=False)
    result = prune(captured, analyse(captured.module), "channels=0.5")
    assert result.error <= LIMIT


def test_weight_norm() -> None:
    norm = nn.utils.parametrizations.weight_norm
    net = Net(
        lambda m, x: m.out(m.b(m.a(x)).relu()), a=conv(3, 8), b=norm(conv(8, 6)), out=conv(6, 2)
    )
    result = half(net)
    assert sorted(result.plan.widths.values()) == [(6, 3), (8, 4)]


def test_mean_over_channels_counts_those_kept() -> None:
    net = Net(
        lambda m, x: m.out((y := m.a(x)) - y.mean(1, keepdim=True)), a=conv(3, 8), out=conv(8, 2)
    )
    assert half(net).plan.widths == {"a.weight": (8, 4)}
