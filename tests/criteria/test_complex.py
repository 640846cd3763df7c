"""Weights and activations that are complex numbers: neither part of them is dropped."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.criteria.activations import ActivationMean, ActivationVariance
from graphprune.criteria.base import Evidence
from graphprune.criteria.cosine import Cosine
from graphprune.criteria.fpgm import GeometricMedian
from graphprune.criteria.rows import coupled_rows
from graphprune.criteria.taylor import Taylor


class Spectral(nn.Module):
    """(N, 16, 3) -> (N, 2): channels meet complex weights at five frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 6), nn.Linear(6, 2)
        self.weight = nn.Parameter(torch.randn(6, 6, 5, dtype=torch.complex64))

    def spectrum(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(self.first(x).transpose(1, 2))[..., :5]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.einsum("bix,iox->box", self.spectrum(x), self.weight)
        return self.last(F.relu(torch.fft.irfft(mixed, n=16)).mean(-1))


@pytest.fixture
def seen() -> tuple[Spectral, Captured, Analysis]:
    torch.manual_seed(0)
    model = Spectral().eval()
    captured = capture(model, torch.randn(2, 16, 3))
    return model, captured, analyse(captured.module)


def test_rows_hold_both_parts_at_mean_square_one(seen: Any) -> None:
    model, _, analysis = seen
    group = next(g for g in analysis.groups if g.name == "first.weight")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = coupled_rows(analysis, group)
    weight = model.weight.detach()
    scaled = weight.abs().square().sum((1, 2)) / weight.abs().square().mean()
    first = torch.cat([model.first.weight, model.first.bias[:, None]], 1).detach()
    parts = [model.first.weight, model.first.bias[:, None]]
    real = sum((p.detach().square() / p.detach().square().mean()).sum(1) for p in parts)
    assert rows.shape == (6, first.shape[1] + 2 * 30)
    torch.testing.assert_close(rows.square().sum(1), scaled + real)


@pytest.mark.parametrize("criterion", [Cosine(), GeometricMedian()])
def test_a_turn_of_all_weights_in_the_complex_plane_changes_nothing(
    criterion: Any, seen: Any
) -> None:
    model, captured, analysis = seen
    before = criterion.score(Evidence(analysis, captured))
    with torch.no_grad():
        model.weight.mul_(1j)
    captured = capture(model, torch.randn(2, 16, 3))
    after = criterion.score(Evidence(analyse(captured.module), captured))
    for group, scores in before.items():
        torch.testing.assert_close(after[group], scores)


def test_activations_are_measured_by_their_modulus(seen: Any) -> None:
    model, captured, analysis = seen
    x = torch.randn(8, 16, 3)
    evidence = Evidence(analysis, captured, [((x,), None)])
    with torch.no_grad():
        values = model.spectrum(x).transpose(0, 1).flatten(1).to(torch.complex128)
    mean = ActivationMean().score(evidence)["first.weight"]
    torch.testing.assert_close(mean, values.abs().mean(1), rtol=1e-5, atol=1e-6)
    variance = ActivationVariance().score(evidence)["first.weight"]
    about = values - values.mean(1, keepdim=True)
    torch.testing.assert_close(variance, about.abs().square().mean(1), rtol=1e-5, atol=1e-5)


def test_taylor_is_the_squared_slope_along_complex_weights_too(seen: Any) -> None:
    model, captured, analysis = seen
    x, y = torch.randn(8, 16, 3), torch.randint(0, 2, (8,))
    found = Taylor().score(Evidence(analysis, captured, [((x,), y)]))["first.weight"]
    double = copy.deepcopy(model).double()
    double.weight = nn.Parameter(model.weight.detach().to(torch.complex128))

    def loss(channel: int, factor: float) -> torch.Tensor:
        scaled = copy.deepcopy(double)
        with torch.no_grad():
            for tensor in (scaled.first.weight, scaled.first.bias, scaled.weight):
                tensor[channel] *= factor
            return F.cross_entropy(scaled(x.double()), y)

    step = 1e-5
    slopes = [(loss(c, 1 + step) - loss(c, 1 - step)) / (2 * step) for c in range(6)]
    torch.testing.assert_close(found, torch.stack(slopes).square(), rtol=1e-3, atol=1e-9)
