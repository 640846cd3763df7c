"""Attention heads, whole and inside, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hand_worked import Net, Tensor, examine, groups, half
from torch import nn
from torch.nn import functional as F

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.choosing.budget import choose


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


def test_cosine_attention_is_shortened_inside_its_heads() -> None:
    class Cosine(Attention):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (f(x).view(-1, 7, 3, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
            return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))

    assert half(Cosine(True), 2, 7, 6, heads="inside").plan.widths["q.weight"] == (12, 6)
    assert half(Cosine(True), 2, 7, 6, heads="whole").plan.widths["q.weight"] == (12, 8)
