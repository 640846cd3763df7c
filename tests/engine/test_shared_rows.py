"""Heads that share their columns go whole as well: rotary positions, norms, one key head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_worked import Tensor, examine, half
from torch import nn
from torch.nn import functional as F

from graphprune import CompressConfig, compress
from graphprune.analysis.channels import Kind
from graphprune.analysis.shared_rows import _divide
from graphprune.choosing.thinning import HEADS
from graphprune.errors import TargetError

HEAD_COUNT, SIZE, TOKENS, WIDTH = 4, 8, 5, 16


class Rotary(nn.Module):
    """Attention whose queries and keys are turned, all or a part of each head."""

    def __init__(self, key_heads: int = HEAD_COUNT, part: int = SIZE, bias: bool = True) -> None:
        super().__init__()
        self.key_heads, self.part = key_heads, part
        self.q, self.k, self.v = (
            nn.Linear(WIDTH, heads * SIZE, bias=bias)
            for heads in (HEAD_COUNT, key_heads, key_heads)
        )
        self.out = nn.Linear(HEAD_COUNT * SIZE, 3)
        angle = torch.rand(TOKENS, part // 2).repeat(1, 2)
        self.register_buffer("cosine", angle.cos())
        self.register_buffer("sine", angle.sin())

    def turned(self, x: Tensor) -> Tensor:
        front, back = x[..., : self.part], x[..., self.part :]
        left, right = front.chunk(2, -1)
        front = front * self.cosine + torch.cat([-right, left], -1) * self.sine
        return torch.cat([front, back], -1)

    def wider(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        shape = (batch, self.key_heads, HEAD_COUNT // self.key_heads, TOKENS, SIZE)
        return x[:, :, None].expand(shape).reshape(batch, HEAD_COUNT, TOKENS, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(2, (-1, SIZE)).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = self.turned(q), self.wider(self.turned(k))
        y = F.scaled_dot_product_attention(q, k, self.wider(v))
        return self.out(y.transpose(1, 2).flatten(2))


class Normed(Rotary):
    """Norms with one weight for all heads in place of rotary positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q_norm, self.k_norm = nn.RMSNorm(SIZE), nn.RMSNorm(SIZE)

    def turned(self, x: Tensor) -> Tensor:
        return self.q_norm(x)


class Packed(Rotary):
    """Queries, keys and values of each head side by side in one projection."""

    def __init__(self) -> None:
        super().__init__(part=SIZE // 2)
        del self.q, self.k, self.v
        self.qkv = nn.Linear(WIDTH, 3 * HEAD_COUNT * SIZE)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (HEAD_COUNT, -1)).transpose(1, 2).chunk(3, -1)
        y = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v)
        return self.out(y.transpose(1, 2).flatten(2))


KINDS = {
    "all heads": Rotary,
    "without bias": lambda: Rotary(bias=False),
    "a part of each head": lambda: Rotary(part=SIZE // 2),
    "two queries a key": lambda: Rotary(key_heads=2),
    "one key for all": lambda: Rotary(key_heads=1),
    "norms": Normed,
    "packed": Packed,
}


def _heads(kept: list[int], width: int = SIZE) -> dict[int, list[int]]:
    """By head, which of its columns are kept."""
    found: dict[int, list[int]] = {}
    for place in kept:
        found.setdefault(place // width, []).append(place % width)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_whole_heads_go_where_all_share_their_columns(kind: str) -> None:
    model = KINDS[kind]()
    first = "qkv" if kind == "packed" else "q"
    width = 3 * SIZE if kind == "packed" else SIZE
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
    first = "qkv" if kind == "packed" else "q"
    width = 3 * SIZE if kind == "packed" else SIZE
    result = half(model, 2, TOKENS, WIDTH, heads="inside")
    heads = _heads(result.plan.kept[f"{first}.weight"][0], width)
    assert list(heads) == list(range(HEAD_COUNT))
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
    stays = result.model.get_parameter("q.weight").shape[0] / (HEAD_COUNT * SIZE)
    assert stays == (1.0 if heads == "keep" else 0.5)


def test_a_packed_module_loses_whole_heads() -> None:
    """The rows of its packed projection are queries, keys and values; a head is a part of each."""
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(WIDTH, HEAD_COUNT, 8, batch_first=True), 1
    )
    result = half(model, 2, TOKENS, WIDTH, heads="whole")
    heads = _heads(result.plan.kept["layers.0.self_attn.in_proj_weight"][0], WIDTH // HEAD_COUNT)
    first = [head for head in heads if head < HEAD_COUNT]
    assert list(heads) == [part * HEAD_COUNT + head for part in range(3) for head in first]
    assert len(first) == 2
    assert all(columns == list(range(WIDTH // HEAD_COUNT)) for columns in heads.values())


def test_kinds_tell_rows_from_columns() -> None:
    analysis = examine(Rotary(key_heads=1), 2, TOKENS, WIDTH)
    kinds = {
        (int(kind), group.size) for group in analysis.groups for kind in np.unique(group.kinds)
    }
    assert (Kind.ROW, HEAD_COUNT) in kinds
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
    [([0, 1, 2, 3], 2), ([0, 1, 1, 0], 2), ([0, 0, 1, 1], 2), ([0, 1, 0], 2), ([0, 1], 2)],
)
def test_other_patterns_are_no_rows(classes: list[int], width: int) -> None:
    assert _divide(np.array(classes), width) is None
