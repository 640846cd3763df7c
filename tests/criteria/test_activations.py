"""Mean and variance of activations against torch's own, taken with hooks."""

from __future__ import annotations

from typing import Any

import pytest
import small_models
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.criteria.activations import ActivationMean, ActivationVariance
from graphprune.criteria.base import Criterion, Evidence
from graphprune.errors import DataError, UsageError


class Stream(nn.Module):
    """(N, 2, 4, 4) -> (N, 3): a stream read by a convolution and, flattened, by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 6, 3, padding=1)
        self.outer, self.head = nn.Conv2d(6, 5, 3, padding=1), nn.Linear(80, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).tanh()
        inner = F.gelu(self.inner(x))
        x = x + self.outer(inner)
        return self.head(x.relu_().flatten(1))


def read_by(model: nn.Module, data: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each layer is given, channels first and flat: (D, elements)."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            value = inputs[0].detach().clone().double()
            value = value.reshape(len(data), -1, 4, 4)
            seen[name] = value.transpose(0, 1).flatten(1)

        return hook

    for name, layer in model.named_children():
        layer.register_forward_pre_hook(keep(name))
    with torch.no_grad():
        model(data)
    return seen


def score(criterion: Criterion, model: nn.Module, data: torch.Tensor) -> dict[str, torch.Tensor]:
    captured = capture(model, data[:2])
    batches = [((part,), None) for part in data.split(4)]
    return criterion.score(Evidence(analyse(captured.module), captured, batches))


def test_means_and_variances_where_channels_are_read() -> None:
    model, data = Stream().eval(), torch.randn(12, 2, 4, 4)
    means, variances = (score(c, model, data) for c in (ActivationMean(), ActivationVariance()))
    seen = read_by(model, data)
    places = {"stem.weight": ("inner", "head"), "inner.weight": ("outer",)}
    assert set(means) == set(variances) == set(places)
    for group, readers in places.items():
        mean = torch.stack([seen[one].abs().mean(1) for one in readers]).sum(0)
        variance = torch.stack([seen[one].var(1, correction=0) for one in readers]).sum(0)
        torch.testing.assert_close(means[group], mean, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(variances[group], variance, rtol=1e-5, atol=1e-7)


def test_a_constant_channel_has_no_variance() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[0].weight[2] = 0
        model[0].bias[2] = 7
    data = torch.randn(8, 3)
    assert score(ActivationVariance(), model, data)["0.weight"].argmin() == 2
    assert score(ActivationMean(), model, data)["0.weight"].argmax() == 2


def test_data_are_needed() -> None:
    captured = capture(Stream().eval(), torch.randn(2, 2, 4, 4))
    analysis = analyse(captured.module)
    with pytest.raises(UsageError, match="--data"):
        ActivationMean().score(Evidence(analysis, captured))
    with pytest.raises(DataError, match="no data"):
        ActivationMean().score(Evidence(analysis, captured, []))


@pytest.mark.parametrize(
    "criterion", [ActivationMean(), ActivationVariance()], ids=lambda c: c.name
)
def test_channels_beside_the_batch_at_any_batch(criterion: Criterion) -> None:
    torch.manual_seed(0)
    captured = capture(small_models.Merged().eval(), torch.randn(2, 5, 8))
    analysis = analyse(captured.module)
    x = torch.randn(12, 5, 8)
    found = []
    for size in (2, 3, 12):
        evidence = Evidence(analysis, captured, [((part,), None) for part in x.split(size)])
        found.append(criterion.score(evidence))
        assert not evidence.notes
    for scores in found[1:]:
        for name, values in scores.items():
            torch.testing.assert_close(values, found[0][name])
