"""Heads that share their columns go whole as well: rotary positions, norms, one key head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_worked import examine, half
from shared_heads import HEADS as COUNT
from shared_heads import KINDS, SIZE, TOKENS, WIDTH, Rotary
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.analysis.channels import Kind
from graphprune.analysis.shared_rows import _divide
from graphprune.choosing.thinning import HEADS
from graphprune.errors import TargetError


def _heads(kept: list[int], width: int = SIZE) -> dict[int, list[int]]:
    """By head, which of its columns are kept."""
    found: dict[int, list[int]] = {}
    for place in kept:
        found.setdefault(place // width, []).append(place % width)
    return found


def _projection(kind: str) -> tuple[str, int]:
    """The layer that brings the queries forth, and how many of its channels are a head's."""
    return ("qkv", 3 * SIZE) if kind == "packed" else ("q", SIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_heads_go_where_all_share_their_columns(kind: str) -> None:
    model = KINDS[kind]()
    first, width = _projection(kind)
    result = half(model, 2, TOKENS, WIDTH, heads="whole")
    for name in (f"{first}.weight", f"{first}.bias") if kind != "without bias" else ("q.weight",):
        heads = _heads(result.plan.kept[name][0], width)
        assert list(heads.values()) == [list(range(width))] * 2, name
    kept = _heads(result.plan.kept["out.weight"][1])
    assert list(kept) == list(heads)
    assert all(columns == list(range(SIZE)) for columns in kept.values())
    if kind == "two queries a key":
        assert list(kept) in ([0, 1], [2, 3])
        assert len(result.plan.kept["k.weight"][0]) == SIZE
    if kind == "one key for all":
        assert not {"k.weight", "v.weight"} & set(result.plan.kept)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_shortened_alike_or_kept_on_request(kind: str) -> None:
    model = KINDS[kind]()
    first, width = _projection(kind)
    result = half(model, 2, TOKENS, WIDTH, heads="inside")
    heads = _heads(result.plan.kept[f"{first}.weight"][0], width)
    assert list(heads) == list(range(COUNT))
    assert all(columns == heads[0] for columns in heads.values())
    assert width // 3 <= len(heads[0]) <= 2 * width // 3
    with pytest.raises(TargetError, match=r"params=1\.000 remain"):
        half(model, 2, TOKENS, WIDTH, heads="keep", target="params=0.5")


@pytest.mark.parametrize("heads", HEADS)
def test_half_of_the_channels_is_half_of_rows_times_columns(heads: str) -> None:
    result = compress(
        Rotary().eval(),
        torch.randn(2, TOKENS, WIDTH),
        method="random",
        config=CompressConfig(heads=heads),
    )
    stays = result.model.get_parameter("q.weight").shape[0] / (COUNT * SIZE)
    assert stays == (1.0 if heads == "keep" else 0.5)


def test_a_packed_module_loses_whole_heads() -> None:
    """The rows of its packed projection are queries, keys and values; a head is a part of each."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, COUNT, 8, batch_first=True), 1)
    result = half(model, 2, TOKENS, WIDTH, heads="whole")
    heads = _heads(result.plan.kept["layers.0.self_attn.in_proj_weight"][0], WIDTH // COUNT)
    first = [head for head in heads if head < COUNT]
    assert list(heads) == [part * COUNT + head for part in range(3) for head in first]
    assert len(first) == 2
    assert all(columns == list(range(WIDTH // COUNT)) for columns in heads.values())


class Scattered(nn.Module):
    """(N, T, 16) -> (N, T, 3): attention whose heads lie within the channels, (size, heads)."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv, self.out = nn.Linear(WIDTH, 3 * COUNT * SIZE), nn.Linear(COUNT * SIZE, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            part.unflatten(-1, (SIZE, COUNT)).permute(0, 3, 1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.einsum("nhqk,nhkd->nhqd", (q @ k.transpose(2, 3)).softmax(-1), v)
        return self.out(mixed.permute(0, 2, 3, 1).flatten(2))


@pytest.mark.parametrize("fused", [True, False])
def test_heads_within_the_channels_are_heads(fused: bool) -> None:
    torch.manual_seed(0)
    model = Scattered(fused=fused).eval()
    result = half(model, 2, TOKENS, WIDTH, heads="whole")
    kept = result.plan.kept["qkv.weight"][0]
    heads = sorted({place % COUNT for place in kept})
    assert len(heads) == COUNT // 2
    assert kept == [place for place in range(3 * COUNT * SIZE) if place % COUNT in heads]
    for policy in ("inside", "keep"):
        with pytest.raises(TargetError, match=r"params=1\.000 remain"):
            half(model, 2, TOKENS, WIDTH, heads=policy, target="params=0.5")


def test_kinds_tell_rows_from_columns() -> None:
    analysis = examine(Rotary(key_heads=1), 2, TOKENS, WIDTH)
    kinds = {
        (int(kind), group.size) for group in analysis.groups for kind in np.unique(group.kinds)
    }
    assert (Kind.ROW, COUNT) in kinds
    assert (Kind.COLUMN_OF_MANY, SIZE // 2) in kinds


def test_rows_are_told_by_where_equal_channels_lie() -> None:
    shared = np.array([0, 1, 0, 1, 0, 1])
    division = _divide(shared, 2)
    assert division is not None
    assert division.rows.tolist() == [0, 0, 1, 1, 2, 2]
    assert division.columns.tolist() == [0, 1, 0, 1, 0, 1]
    partly = _divide(np.array([0, 7, 0, 8]), 2)
    assert partly is not None
    assert partly.columns.tolist() == [0, 1, 0, 1]  # rows that share one column share all
    beside = _divide(np.array([0, 1, 0, 1, 5, 6]), 2)
    assert beside is not None
    assert beside.columns.tolist() == [0, 1, 0, 1, 2, 3]  # a row that shares none has its own


@pytest.mark.parametrize(
    ("classes", "width"),
    [
        ([0, 1, 2, 3], 2),
        ([0, 1, 1, 0], 2),
        ([0, 0, 1, 1], 2),
        ([0, 1, 0], 2),
        ([0, 1], 2),
        ([0, 0, 1, 1], 1),
    ],
)
def test_other_patterns_are_no_rows(classes: list[int], width: int) -> None:
    assert _divide(np.array(classes), width) is None


@pytest.mark.parametrize("count", [4, 6, 8])
def test_a_fraction_of_the_channels_is_met_where_heads_or_columns_alone_meet_it(count: int) -> None:
    """One head and some columns of the others had missed it: the last step was too large."""
    width = 16 * count
    layer = nn.TransformerEncoderLayer(width, count, 8, batch_first=True)
    model = nn.TransformerEncoder(layer, 1).eval()
    result = compress(model, torch.randn(2, TOKENS, width), method="l2")
    assert result.model.get_parameter("layers.0.self_attn.in_proj_weight").shape[0] == 3 * width / 2
