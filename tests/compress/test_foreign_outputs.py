"""Outputs of classes that no graph can return: caches to be handed back, and results."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graphprune import compress
from graphprune.compressed import Compressed
from graphprune.errors import CertificateError
from graphprune.partial.result import PartialCompressed
from graphprune.proof.compare import max_relative_error


class Cache:
    """Keys and values of what came before."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.layers = [{"keys": keys, "values": values}]


class Decoder(nn.Module):
    """Attention that hands out its keys and values, and takes them back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 20)
        self.q, self.k, self.v = (nn.Linear(8, 16) for _ in range(3))
        self.out = nn.Linear(16, 8)

    def forward(self, tokens: torch.Tensor, cache: Cache | None = None) -> dict[str, Any]:
        x = self.embed(tokens)
        k, v = self.k(x), self.v(x)
        if cache is not None:
            before = cache.layers[0]
            k, v = torch.cat([before["keys"], k], 1), torch.cat([before["values"], v], 1)
        seen = nn.functional.scaled_dot_product_attention(self.q(x), k, v)
        return {"logits": self.head(x + self.out(seen)), "cache": Cache(k, v)}


TOKENS = torch.randint(0, 20, (2, 5), generator=torch.Generator().manual_seed(0))


def test_a_cache_is_no_result(tmp_path: Path) -> None:
    model = Decoder()
    result = compress(model, TOKENS)
    assert isinstance(result, Compressed)
    assert result.model(TOKENS)["cache"] is None
    assert any("left out of the outputs: cache" in note for note in result.report.notes)
    assert {name: w for name, (_, w) in result.plan.widths.items()}["k.weight"] == 8
    assert model(TOKENS)["cache"].layers[0]["keys"].shape == (2, 5, 16)
    result.save(tmp_path / "out")


def test_the_users_class_goes_on_from_its_cache() -> None:
    small = Decoder()
    result = compress(small, TOKENS)
    assert isinstance(result, Compressed)
    result.into(small)
    first = small(TOKENS[:, :3])
    assert first["cache"].layers[0]["keys"].shape == (2, 3, 8)
    assert small(TOKENS[:, 3:], first["cache"])["logits"].shape == (2, 2, 20)


class Boxes:
    def __init__(self, corners: torch.Tensor) -> None:
        self.corners = corners


class Finder(nn.Module):
    """Returns an object that is its result, not state: nothing of it may be left out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> Boxes:
        return Boxes(self.body(x))


def test_an_object_that_is_the_result_is_compared() -> None:
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    result = compress(Finder(), x)
    assert isinstance(result, PartialCompressed)
    assert result.model(x).corners.shape == (3, 4)
    assert result.model.body[0].out_features == 8


def test_objects_are_compared_by_their_tensors() -> None:
    one, other = (Boxes(torch.ones(2, 2) * scale) for scale in (1.0, 1.5))
    assert max_relative_error(one, copy.deepcopy(one)) == 0
    assert max_relative_error(other, one) == pytest.approx(0.5)
    with pytest.raises(CertificateError, match="no tensor"):
        max_relative_error(object(), object())
