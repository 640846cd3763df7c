"""Channels that are moved about: where each is found again, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine_oracle import LIMIT, compare, shrink
from hand_worked import IMAGE, Net, Tensor, conv, examine, groups, half, without
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.choosing.plan import plan_from_classes


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
    plan = plan_from_classes(analysis, without(analysis, "b.weight", 0, [0, 5]))
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
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, [1]))
    assert plan.kept["a.weight"] == {0: [0, 2, 3, 4, 6, 7]}
    half(net)


def test_uneven_split_frees_every_part() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        left, right = torch.split(m.a(x), [3, 5], 1)
        return m.b(left) + m.c(right)

    net = Net(forward, a=conv(3, 8), b=conv(3, 2), c=conv(5, 2))
    analysis = examine(net)
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, [0, 6, 7]))
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
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, [2]))
    assert plan.kept["out.weight"] == {1: [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15]}
    half(net, 2, 3, 2, 2)


def test_in_place_operations_and_slice_assignment() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        y[:, :2] = m.b(x)
        y[:, 4:] *= 2
        y.add_(1).relu_()
        return m.out(y)

    net = Net(forward, a=conv(3, 8), b=conv(3, 2), out=conv(8, 2))
    analysis = examine(net)
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, [1, 3, 5]))
    assert plan.kept["b.weight"] == {0: [0]}
    assert plan.kept["out.weight"] == {1: [0, 2, 4, 6, 7]}
    captured = capture(net, torch.randn(IMAGE))
    assert compare(captured, analysis, plan, shrink(captured, analysis, plan)) <= LIMIT
    half(net)


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
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, gone))
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
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, [1, 2]))
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


REPEATS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "repeat": lambda kernel, count: kernel.repeat(count, 1, 1, 1),
    "expand": lambda kernel, count: kernel.expand(count, -1, -1, -1),
    "of a number": lambda kernel, count: (torch.ones(1, 1, 3, 3) / 9).repeat(count, 1, 1, 1),
    "computed": lambda kernel, count: (
        kernel.flatten().softmax(0).view(1, 1, 3, 3).repeat(count, 1, 1, 1)
    ),
    "by a view": lambda kernel, count: kernel.expand(1, count, 3, 3).reshape(-1, 1, 3, 3),
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("repeat", REPEATS.values(), ids=REPEATS)
def test_one_kernel_for_every_channel(
    repeat: Callable[[Tensor, int], Tensor], trained: bool
) -> None:
    """As many copies as there are channels; the kernel itself loses nothing."""

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.out(F.conv2d(x, repeat(m.kernel, x.shape[1]), groups=x.shape[1]))

    net = Net(forward, a=conv(3, 8), out=conv(8, 2))
    kernel = torch.rand(1, 1, 3, 3)
    if trained:
        net.kernel = nn.Parameter(kernel)
    else:
        net.register_buffer("kernel", kernel)
    analysis = examine(net)
    assert [(name, size) for name, (size, _) in groups(analysis).items()] == [("a.weight", 8)]
    plan = plan_from_classes(analysis, without(analysis, "a.weight", 0, [1, 6]))
    assert plan.kept["out.weight"] == {1: [0, 2, 3, 4, 5, 7]}
    assert "kernel" not in plan.kept
    half(net)


def test_what_is_repeated_otherwise_stays() -> None:
    """Three copies of a picture are three inputs of the layer that reads them."""
    net = Net(
        lambda m, x: m.out(m.a(x).sum(1, True).expand(-1, 3, -1, -1)), a=conv(3, 4), out=conv(3, 2)
    )
    assert set(groups(examine(net))) == {"a.weight"}
