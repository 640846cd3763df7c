"""Torch's own transformer layers fill padded positions with zeros where no gradient is wanted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import graphprune
from graphprune.partial.result import PartialCompressed

Tensor = torch.Tensor
_WORDS = 50


class _Classifier(nn.Module):
    """Averages over all positions, so that what is at padded ones matters."""

    def __init__(self, *, looks: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(_WORDS, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 5)
        self.looks = looks

    def encode(self, tokens: Tensor) -> Tensor:
        padded = tokens == 0
        encoded: Tensor = self.encoder(self.words(tokens), src_key_padding_mask=padded)
        return encoded

    def forward(self, tokens: Tensor) -> Tensor:
        if self.looks and int(tokens.sum()) < 0:  # no graph can be made of it whole
            return self.head(self.words(tokens)).mean(1)
        answer: Tensor = self.head(self.encode(tokens)).mean(1)
        return answer


def _tokens(padded: int) -> Tensor:
    tokens = torch.randint(1, _WORDS, (4, 12))
    if padded:
        tokens[:, -padded:] = 0
    return tokens


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _as_in_training(model: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    with torch.enable_grad():  # the layers then take the road of training
        answer = model(tokens)
    return answer.detach()


@pytest.mark.parametrize("frozen", [False, True])
def test_padding_in_the_examples(frozen: bool) -> None:
    model = _Classifier().eval().requires_grad_(not frozen)
    tokens = _tokens(3)
    result = graphprune.compress(model, (tokens,), method="l2", target="channels=0.5")
    assert isinstance(result, graphprune.compressed.Compressed)
    assert any("padded positions" in note for note in result.report.notes)
    assert torch.backends.mha.get_fastpath_enabled()
    result.into(model)
    model.requires_grad_(True)
    torch.testing.assert_close(_as_in_training(model, tokens), result.model(tokens).detach())
    other = _tokens(5)
    torch.testing.assert_close(_as_in_training(model, other), result.model(other).detach())


def test_the_small_model_pads_with_zeros_as_the_large_one_did() -> None:
    model = _Classifier().eval()
    tokens = _tokens(3)
    result = graphprune.compress(model, (tokens,), method="l2", target="channels=0.5")
    result.into(model)
    with torch.no_grad():
        filled = model.encode(tokens)
    computed = _as_in_training(model.encode, tokens)
    assert (filled[:, -3:] == 0).all()
    assert (computed[:, -3:] != 0).any()
    torch.testing.assert_close(filled[:, :-3], computed[:, :-3])


def test_parts() -> None:
    model = _Classifier(looks=True).eval()
    result = graphprune.compress(model, (_tokens(3),), method="l2", target="channels=0.5")
    assert isinstance(result, PartialCompressed)
    assert result.report.reached["params"] < 0.6
    assert any("padded positions" in note for note in result.report.notes)


def test_no_note_where_nothing_is_filled() -> None:
    model = _Classifier().eval()
    result = graphprune.compress(model, (_tokens(0),), method="l2", target="channels=0.5")
    assert not any("padded" in note for note in result.report.notes)
