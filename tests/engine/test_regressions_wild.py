"""What sequence, tabular and language models of other people's have found, one network a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.capturing.capture import capture
from graphprune.compress import compress
from graphprune.compressed import CompressConfig, Compressed
from graphprune.errors import UsageError


def _halved(model: nn.Module, inputs: Any) -> Compressed:
    """The model with half of its channels, proved; its outputs keep their shape."""
    torch.manual_seed(0)
    result = compress(model.eval(), inputs, method="l2", target="channels=0.5")
    assert isinstance(result, Compressed)
    assert result.certificate.passed
    return result


class _Attention(nn.Module):
    """llama2.c's way: keys repeated by expand, and a view of what fused attention gives."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.o = nn.Linear(12, 32), nn.Linear(32, 5)
        self.k, self.v = nn.Linear(12, 8), nn.Linear(12, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, _ = x.shape
        q = self.q(x).view(b, n, 4, 8).transpose(1, 2)
        k, v = (f(x)[:, :, None].expand(b, n, 4, 8).transpose(1, 2) for f in (self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).contiguous().view(b, n, -1))


def test_a_view_of_what_lies_otherwise_in_memory_once_shrunk() -> None:
    """Whether contiguous() does anything is decided when the model is captured."""
    inside = CompressConfig(heads="inside")
    result = compress(_Attention().eval(), torch.randn(2, 6, 12), method="l2", config=inside)
    assert result.certificate.passed
    assert isinstance(result, Compressed)
    assert result.plan.widths["q.weight"] == (8, 4)


def _rows(x: torch.Tensor) -> int:
    return len(x)


class _ReadsItsBatch(nn.Module):
    def __init__(self, read: Callable[[torch.Tensor], int]) -> None:
        super().__init__()
        self.hidden, self.out, self.read = nn.Linear(5, 8), nn.Linear(8, 2), read

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.hidden(torch.cat([torch.ones(self.read(x), 1), x], 1)))


def test_a_batch_read_with_len_stays_free() -> None:
    captured = capture(_ReadsItsBatch(_rows), torch.randn(3, 4))
    assert captured.dynamic_batch
    assert captured.module(torch.randn(7, 4)).shape == (7, 2)
    assert len(torch.randn(5, 4)) == len([0] * 5) == 5  # as ever, now that it is over


def test_a_batch_that_the_model_has_fixed() -> None:
    """It was captured with a batch of 2, which stayed, and then failed on the examples' 3."""
    model, inputs = _ReadsItsBatch(lambda x: int(x.shape[0])), torch.randn(3, 4)
    captured = capture(model, inputs)
    assert not captured.dynamic_batch
    assert torch.equal(captured.module(inputs), model(inputs))
    assert _halved(model, inputs).plan.widths == {"hidden.weight": (8, 4)}


class _BatchOfHeads(nn.Module):
    """Heads and examples in one dimension, as nn.MultiheadAttention has them."""

    def __init__(self, inside: bool) -> None:
        super().__init__()
        self.qkv, self.o, self.inside = nn.Linear(6, 48), nn.Linear(16, 3), inside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, _ = x.shape
        heads = self.qkv(x).view(b, n, 3, 4, 4).permute(2, 3, 0, 1, 4)
        heads = heads if self.inside else heads.transpose(1, 2)
        q, k, v = heads.reshape(3, b * 4, n, 4).unbind(0)
        y = (q @ k.transpose(1, 2)).softmax(-1) @ v
        y = y.view(4, b, n, 4).transpose(0, 1) if self.inside else y.view(b, 4, n, 4)
        return self.o(y.transpose(1, 2).reshape(b, n, 16))


@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_examples_of_another_batch_than_the_captured_one(inside: bool) -> None:
    """The masks of the reference were as long as the captured batch's heads, 2 * 4."""
    result = _halved(_BatchOfHeads(inside), torch.randn(5, 4, 6))
    assert len(result.plan.kept["qkv.weight"][0]) <= 30


def test_scratch_space_that_nobody_reads() -> None:
    """A kernel's own outputs (counts of embedding_bag) have other sizes each time."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bag, self.out = nn.EmbeddingBag(9, 8), nn.Linear(8, 2)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return self.out(self.bag(words))

    assert _halved(Bag(), torch.randint(0, 9, (2, 4))).plan.widths == {"bag.weight": (8, 4)}


def test_a_submodule_that_its_class_hides() -> None:
    """``type`` is a method of nn.Module: get_submodule raised AttributeError."""

    class Typed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.type = nn.Linear(3, 4)  # type: ignore[assignment]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._modules["type"](x)  # type: ignore[misc]

    with pytest.raises(UsageError, match=r"submodule 'type'.*rename the submodule"):
        compress(Typed(), torch.randn(2, 3), method="l2", target="channels=0.5")


class _Experts(nn.Module):
    """Each row goes to the expert that its largest score names, in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.out = nn.Linear(5, 8), nn.Linear(8, 2), nn.Linear(8, 3)
        self.experts = nn.ModuleList(
            [nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8)) for _ in range(2)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        chosen = self.gate(x).argmax(-1)
        result = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            (rows,) = torch.where(chosen == number)
            result[rows] += expert(x[rows])
        return self.out(result)


def test_sizes_that_the_data_decide() -> None:
    """How many rows an expert gets has no value at capture; its channels were all pinned."""
    widths = _halved(_Experts(), torch.randn(6, 5)).plan.widths
    assert widths["first.weight"] == (8, 4)
    assert [widths[f"experts.{n}.0.weight"] for n in range(2)] == [(12, 6), (12, 6)]


class _Gram(nn.Module):
    """Dot products of feature vectors with each other, as in DLRM."""

    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.ModuleList([nn.Linear(5, 8) for _ in range(3)])
        self.out = nn.Linear(9, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        vectors = torch.cat([tower(x) for tower in self.towers], 1).view(-1, 3, 8)
        return self.out((vectors @ vectors.transpose(1, 2)).flatten(1))


def test_two_grids_that_cross() -> None:
    """Vectors multiplied with each other lose the same elements; they were all pinned."""
    kept = _halved(_Gram(), torch.randn(2, 5)).plan.kept
    first = kept["towers.0.weight"][0]
    assert len(first) == 4
    assert all(kept[f"towers.{n}.weight"][0] == first for n in range(3))


class _Pairs(nn.Module):
    """llama2.c's rotary embedding: the last dimension holds pairs, which are unbound."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 16) for _ in range(3))
        self.out = nn.Linear(16, 3)
        self.register_buffer("angle", torch.rand(2))

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        real, imaginary = x.view(*x.shape[:2], 4, 2, 2).unbind(-1)
        cos, sin = self.angle.cos(), self.angle.sin()
        turned = (real * cos - imaginary * sin, real * sin + imaginary * cos)
        return torch.stack(turned, -1).flatten(3).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = self.rotate(self.q(x)), self.rotate(self.k(x))
        v = self.v(x).view(*x.shape[:2], 4, 4).transpose(1, 2)
        y = (q @ k.transpose(2, 3)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


def test_unbound_pairs_go_as_pairs() -> None:
    """Every element of an unbound dimension was pinned, and queries and keys with it."""
    config = CompressConfig(heads="inside")
    result = compress(_Pairs().eval(), torch.randn(2, 5, 6), method="l2", config=config)
    assert isinstance(result, Compressed)
    kept = result.plan.kept["q.weight"][0]
    assert len(kept) == 8
    assert [place // 2 for place in kept[::2]] == [place // 2 for place in kept[1::2]]
