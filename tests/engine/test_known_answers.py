"""Small graphs whose groups, pins and plans can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from engine_oracle import LIMIT, Shrunk, compare, prune, shrink
from torch import nn
from torch.nn import functional as F

from graphprune.budget import choose
from graphprune.capture import capture
from graphprune.groups import Analysis, analyse
from graphprune.labels.slots import varying
from graphprune.plan import plan_from_classes

Tensor = torch.Tensor
IMAGE = (2, 3, 8, 8)


class Net(nn.Module):
    """Layers by name, and a forward function over them."""

    def __init__(self, forward: Callable[[Any, Any], Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def conv(inputs: int, outputs: int, size: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def examine(net: nn.Module, *shape: int) -> Analysis:
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean, norm.running_var = (
                torch.randn(norm.num_features),
                torch.rand(norm.num_features) + 0.5,
            )
    return analyse(capture(net.eval(), torch.randn(shape or IMAGE)).module)


def groups(analysis: Analysis) -> dict[str, tuple[int, set[tuple[str, int]]]]:
    """By name: size, and members as (parameter, dim)."""
    return {
        group.name: (group.size, {(m.parameter, m.dim) for m in group.members})
        for group in analysis.groups
    }


def half(net: nn.Module, *shape: int, target: str = "channels=0.5", heads: str = "both") -> Shrunk:
    """Shrunk, and proved equal to the masked reference."""
    captured = capture(net.eval(), torch.randn(shape or IMAGE))
    result = prune(captured, analyse(captured.module), target, heads=heads)
    assert result.error <= LIMIT
    return result


def pins(analysis: Analysis, parameter: str, dim: int) -> list[str]:
    return [p.reason for p in analysis.pinned if (p.parameter, p.dim) == (parameter, dim)]


# -- groups ------------------------------------------------------------------------------------


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
    assert "test_known_answers.py" in pin.source


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
    classes = _without(analysis, "a.weight", 0, [1])
    classes &= _without(analysis, "b.weight", 0, [7])
    plan = plan_from_classes(analysis, classes)
    assert plan.kept["a.weight"] == {0: [0, 2, 3]}
    assert plan.kept["b.weight"] == {0: [0, 1, 2, 4, 5, 6], 1: [0, 2, 3]}
    assert plan.kept["out.weight"] == {1: [0, 1, 2, 4, 5, 6]}
    half(net)


def _without(analysis: Analysis, name: str, dim: int, positions: list[int]) -> Any:
    """Bool by class: all but the channels at these positions of a parameter's dimension."""
    (slot,) = [s for s in analysis.leaves[name][0] if varying(s) == (dim,)]
    classes = torch.ones(analysis.classes, dtype=torch.bool).numpy()
    classes[analysis.slot_classes(slot).reshape(-1)[positions]] = False
    return classes


def test_concatenation_keeps_its_parts_apart() -> None:
    net = Net(
        lambda m, x: m.out(torch.cat([m.a(x), m.b(x)], 1)),
        a=conv(3, 4),
        b=conv(3, 6),
        out=conv(10, 2),
    )
    analysis = examine(net)
    assert {name: size for name, (size, _) in groups(analysis).items()} == {
        "a.weight": 4,
        "b.weight": 6,
    }
    plan = plan_from_classes(analysis, _without(analysis, "b.weight", 0, [0, 5]))
    assert plan.kept["out.weight"] == {1: [0, 1, 2, 3, 5, 6, 7, 8]}
    assert "a.weight" not in plan.kept
    half(net)


def test_chunks_that_are_multiplied_go_together() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = m.a(x).chunk(2, 1)
        return m.out(left.sigmoid() * right)

    net = Net(forward, a=conv(3, 8), out=conv(4, 2))
    analysis = examine(net)
    assert groups(analysis)["a.weight"][0] == 4
    plan = plan_from_classes(analysis, _without(analysis, "a.weight", 0, [1]))
    assert plan.kept["a.weight"] == {0: [0, 2, 3, 4, 6, 7]}
    half(net)


def test_uneven_split_frees_every_part() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = torch.split(m.a(x), [3, 5], 1)
        return m.b(left) + m.c(right)

    net = Net(forward, a=conv(3, 8), b=conv(3, 2), c=conv(5, 2))
    analysis = examine(net)
    plan = plan_from_classes(analysis, _without(analysis, "a.weight", 0, [0, 6, 7]))
    assert plan.kept["b.weight"] == {1: [1, 2]}
    assert plan.kept["c.weight"] == {1: [0, 1, 2]}
    small = shrink(capture(net, torch.randn(IMAGE)), analysis, plan)
    (split,) = [n for n in small.graph.nodes if "split" in str(n.target)]
    assert split.args[1] == [2, 3]
    half(net)


def test_flatten_into_linear_repeats_each_channel_over_its_pixels() -> None:
    net = Net(lambda m, x: m.out(m.a(x).flatten(1)), a=conv(3, 4), out=nn.Linear(4 * 4, 2))
    analysis = examine(net, 2, 3, 2, 2)
    assert groups(analysis)["a.weight"][0] == 4
    plan = plan_from_classes(analysis, _without(analysis, "a.weight", 0, [2]))
    assert plan.kept["out.weight"] == {1: [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15]}
    half(net, 2, 3, 2, 2)


def test_grouped_convolution_keeps_as_many_in_each_group_but_not_the_same() -> None:
    net = Net(
        lambda m, x: m.out(m.g(m.a(x))), a=conv(3, 8), g=conv(8, 12, groups=2), out=conv(12, 2)
    )
    analysis = examine(net)
    sizes = {name: size for name, (size, _) in groups(analysis).items()}
    assert sizes == {"a.weight": 8, "g.weight": 12}
    classes = _without(analysis, "a.weight", 0, [0, 1, 5, 7])
    classes &= _without(analysis, "g.weight", 0, [2, 6])
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
    plan = plan_from_classes(analysis, _without(analysis, "a.weight", 0, [1, 4]))
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
    plan = plan_from_classes(analysis, _without(analysis, "a.weight", 0, [5]))
    assert plan.kept["a.weight"] == {0: [0, 1, 2, 3, 8, 9, 10, 11]}
    assert plan.kept["out.weight"] == {1: [0, 2]}
    half(net)


class Attention(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.q, self.k, self.v = nn.Linear(6, 12), nn.Linear(6, 12), nn.Linear(6, 12)
        self.out = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).view(-1, 7, 3, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-2, -1) * 0.5).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("fused", [True, False])
def test_attention_couples_queries_with_keys_and_values_with_the_output(fused: bool) -> None:
    analysis = examine(Attention(fused), 2, 7, 6)
    found = groups(analysis)
    assert {name: size for name, (size, _) in found.items()} == {"q.weight": 12, "v.weight": 12}
    assert found["q.weight"][1] == {(f"{n}.{p}", 0) for n in "qk" for p in ("weight", "bias")}
    assert found["v.weight"][1] == {("v.weight", 0), ("v.bias", 0), ("out.weight", 1)}
    result = half(Attention(fused), 2, 7, 6, heads="inside")
    for name in ("q.weight", "v.weight"):
        (kept,) = result.plan.kept[name].values()
        assert [int(k) // 4 for k in kept] == [0, 0, 1, 1, 2, 2]  # type: ignore[arg-type]
    assert result.plan.kept["q.weight"] == result.plan.kept["k.weight"]


@pytest.mark.parametrize("fused", [True, False])
def test_whole_heads_go_from_queries_keys_values_and_output_together(fused: bool) -> None:
    analysis = examine(Attention(fused), 2, 7, 6)
    assert len(analysis.settled.row_units) == 3
    result = half(Attention(fused), 2, 7, 6, target="channels=0.67", heads="whole")
    (kept,) = result.plan.kept["q.weight"].values()
    heads = sorted({int(k) // 4 for k in kept})  # type: ignore[arg-type]
    assert kept == [4 * head + i for head in heads for i in range(4)]
    assert len(heads) == 2
    for name in ("k.weight", "v.weight"):
        assert result.plan.kept[name] == {0: kept}
    assert result.plan.kept["out.weight"] == {1: kept}


def test_heads_are_left_alone_on_request() -> None:
    net = Net(lambda m, x: m.head(m.attend(x).relu()), attend=Attention(True), head=nn.Linear(5, 2))
    result = half(net, 2, 7, 6, heads="keep")
    assert set(result.plan.kept) == {"attend.out.weight", "attend.out.bias", "head.weight"}


def test_both_prefers_what_matters_least() -> None:
    captured = capture(Attention(True).eval(), torch.randn(2, 7, 6))
    analysis = analyse(captured.module)
    scores = {}
    for group in analysis.groups:
        value = torch.ones(3, 4)
        value[1] = 0.1  # an unimportant head
        value[:, 2] = 0.05  # and an unimportant channel in every head
        scores[group.name] = value.flatten()
    plan = choose(analysis, scores, "channels=0.5").plan
    (kept,) = plan.kept["q.weight"].values()
    assert kept == [0, 1, 3, 8, 9, 11]
    assert plan.kept["v.weight"] == {0: kept}


class GroupedQueries(nn.Module):
    """Four query heads of size 4 that share two heads of keys and values."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.q, self.k, self.v = nn.Linear(6, 16), nn.Linear(6, 8), nn.Linear(6, 8)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).view(-1, 7, n, 4) for f, n in ((self.q, 4), (self.k, 2), (self.v, 2)))
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if self.kind == "expand":
            k, v = (y[:, :, None].expand(-1, -1, 2, -1, -1).reshape(-1, 4, 7, 4) for y in (k, v))
        if self.kind == "repeat":
            k, v = (y.repeat_interleave(2, 1) for y in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.kind == "fused")
        return self.out(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("kind", ["expand", "repeat", "fused"])
def test_grouped_queries_lose_whole_groups_or_the_same_channels(kind: str) -> None:
    net = GroupedQueries(kind)
    whole = half(net, 2, 7, 6, heads="whole").plan.kept
    (kept,) = whole["k.weight"].values()
    assert kept in ([0, 1, 2, 3], [4, 5, 6, 7])
    (queries,) = whole["q.weight"].values()
    assert queries == [8 * (int(kept[0]) // 4) + i for i in range(8)]  # type: ignore[arg-type]
    inside = half(net, 2, 7, 6, heads="inside").plan.kept
    (kept,) = inside["k.weight"].values()
    assert [int(k) // 4 for k in kept] == [0, 0, 1, 1]  # type: ignore[arg-type]


def test_a_table_with_one_column_a_head_loses_the_heads_columns() -> None:
    class Biased(Attention):
        def __init__(self) -> None:
            super().__init__(False)
            self.table = nn.Parameter(torch.randn(13, 3))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (f(x).view(-1, 7, 3, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
            place = torch.arange(7)
            bias = self.table[place[:, None] - place + 6].permute(2, 0, 1)
            mixed = (q @ k.transpose(-2, -1) + bias).softmax(-1) @ v
            return self.out(mixed.transpose(1, 2).flatten(2))

    result = half(Biased(), 2, 7, 6, heads="whole", target="channels=0.67")
    (kept,) = result.plan.kept["q.weight"].values()
    assert result.plan.kept["table"] == {1: sorted({int(k) // 4 for k in kept})}  # type: ignore[arg-type]


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


def test_in_place_operations_and_slice_assignment() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        y[:, :2] = m.b(x)
        y[:, 4:] *= 2
        y.add_(1).relu_()
        return m.out(y)

    net = Net(forward, a=conv(3, 8), b=conv(3, 2), out=conv(8, 2))
    analysis = examine(net)
    plan = plan_from_classes(analysis, _without(analysis, "a.weight", 0, [1, 3, 5]))
    assert plan.kept["b.weight"] == {0: [0]}
    assert plan.kept["out.weight"] == {1: [0, 2, 4, 6, 7]}
    captured = capture(net, torch.randn(IMAGE))
    assert compare(captured, analysis, plan, shrink(captured, analysis, plan)) <= LIMIT
    half(net)


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


def test_cosine_attention_is_shortened_inside_its_heads() -> None:
    class Cosine(Attention):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (f(x).view(-1, 7, 3, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
            return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    assert half(Cosine(True), 2, 7, 6, heads="inside").plan.widths["q.weight"] == (12, 6)
    assert half(Cosine(True), 2, 7, 6, heads="whole").plan.widths["q.weight"] == (12, 8)


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


# -- order hazards -----------------------------------------------------------------------------


def _transposed_merge(norm: nn.Module) -> Net:
    """(groups, columns) to (columns, groups) and flat again."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.n(m.a(x)).view(-1, 4, 6).tanh()  # between the views, so that they are not fused
        return m.out(y.transpose(1, 2).sigmoid().reshape(-1, 24))

    return Net(forward, a=nn.Linear(5, 24), n=norm, out=nn.Linear(24, 3))


@pytest.mark.parametrize("norm", [nn.Identity(), nn.GroupNorm(4, 24)], ids=["bare", "grouped"])
def test_a_transposed_merge_keeps_the_same_columns_in_every_row(norm: nn.Module) -> None:
    result = half(_transposed_merge(norm), 2, 5)
    assert result.plan.widths == {"a.weight": (6, 3)}
    (kept,) = result.plan.kept["a.weight"].values()
    columns = kept[:3]
    assert kept == [row * 6 + int(c) for row in range(4) for c in columns]  # type: ignore[arg-type]
    (merged,) = result.plan.kept["out.weight"].values()
    assert merged == [int(c) * 4 + row for c in columns for row in range(4)]  # type: ignore[arg-type]


def test_a_channel_shuffle_leaves_every_channel_free() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        shuffled = y.view(-1, 4, 6, 3, 3).transpose(1, 2).reshape(y.shape)
        return m.out(torch.cat([shuffled.relu(), y], 1))

    net = Net(forward, a=conv(3, 24), out=conv(48, 2))
    analysis = examine(net, 2, 3, 3, 3)
    assert groups(analysis)["a.weight"][0] == 24
    gone = [0, 1, 2, 7]
    plan = plan_from_classes(analysis, _without(analysis, "a.weight", 0, gone))
    order = torch.arange(24).view(4, 6).T.reshape(-1).tolist()
    (kept,) = plan.kept["out.weight"].values()
    assert kept[:20] == [place for place, one in enumerate(order) if one not in gone]
    captured = capture(net.eval(), torch.randn(2, 3, 3, 3))
    assert compare(captured, analysis, plan, shrink(captured, analysis, plan)) <= LIMIT
    half(net, 2, 3, 3, 3)


def test_a_constant_choice_of_channels_is_renumbered() -> None:
    class Chosen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.out = conv(3, 8), conv(5, 2)
            self.register_buffer("chosen", torch.tensor([7, 2, 2, -8, 5]))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.a(x)[:, self.chosen])

    net = Chosen().eval()
    analysis = examine(net)
    plan = plan_from_classes(analysis, _without(analysis, "a.weight", 0, [1, 2]))
    assert plan.kept["out.weight"] == {1: [0, 3, 4]}
    captured = capture(net, torch.randn(IMAGE))
    small = shrink(captured, analysis, plan)
    assert compare(captured, analysis, plan, small) <= LIMIT
    assert small._positions_0.tolist() == [5, 0, 3]
    assert small.chosen.tolist() == [7, 2, 2, -8, 5]
    half(Chosen())


def test_rows_rolled_about_keep_the_same_columns() -> None:
    net = Net(
        lambda m, x: m.out(m.n(m.a(x)).view(-1, 4, 6).roll(1, 1).reshape(-1, 24)),
        a=nn.Linear(5, 24),
        n=nn.GroupNorm(4, 24),
        out=nn.Linear(24, 3),
    )
    assert half(net, 2, 5).plan.widths == {"a.weight": (6, 3)}
