"""Parts of small numbers in an output are proved as strictly as parts of large ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import graphprune
from graphprune.errors import CertificateError
from graphprune.proof.check_inputs import check_inputs
from graphprune.proof.compare import max_relative_error
from graphprune.shrinking.keep import Keep


class _Detector(nn.Module):
    """Boxes in pixels beside probabilities of some thousandths, in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.box = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1)
        self.hidden, self.cls = nn.Conv2d(16, 24, 1), nn.Conv2d(24, 6, 1)
        nn.init.constant_(self.cls.bias, -6.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        probabilities = self.cls(self.hidden(x).relu()).sigmoid()
        return torch.cat([self.box(x).sigmoid() * 640, probabilities], 1)


class _Classes(nn.Module):
    """A segmentation that answers with class numbers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x).relu()).argmax(1)


def test_outputs_of_whole_numbers_are_compared_on_more_inputs() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    certificates = [
        graphprune.compress(model.eval(), x, method="l2", target="channels=0.5").certificate
        for model in (_Detector(), _Classes())
    ]
    assert ["3 random inputs" in one.inputs for one in certificates] == [True, False]
    assert "30 random inputs" in certificates[1].inputs
    assert len(check_inputs(graphprune.capture(_Classes().eval(), x))) == 31


def test_each_slice_counts_by_itself() -> None:
    large, small = torch.linspace(64, 640, 8).view(2, 1, 4), torch.full((2, 1, 4), 0.01)
    expected = torch.cat([large, small], 1)
    actual = torch.cat([large, small * 1.1], 1)
    assert max_relative_error(actual, expected) < 1e-5
    assert max_relative_error(actual, expected, in_slices=True) == pytest.approx(0.1, rel=1e-3)


def test_a_slice_of_nothing_but_rounding_is_taken_for_zero() -> None:
    expected = torch.tensor([[1.0, 1e-17], [1.0, 0.0]], dtype=torch.float64)
    actual = torch.tensor([[1.0, 0.0], [1.0, 2e-17]], dtype=torch.float64)
    assert max_relative_error(actual, expected, in_slices=True) < 1e-7


def test_a_wrong_cut_of_a_small_part_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probabilities change by a tenth of themselves, and by a millionth of the boxes."""
    torch.manual_seed(0)
    model, x = _Detector().eval(), torch.randn(2, 3, 8, 8)
    assert graphprune.compress(model, x, method="l2", target="channels=0.5").certificate.passed
    take = Keep.take

    def wrong(self: Keep, tensor: torch.Tensor, *given: Any) -> torch.Tensor:
        found = take(self, tensor, *given)
        return found * 1.1 if tensor.shape == (6, 24, 1, 1) else found

    monkeypatch.setattr(Keep, "take", wrong)
    with pytest.raises(CertificateError, match="exceeds the limit"):
        graphprune.compress(model, x, method="l2", target="channels=0.5")
