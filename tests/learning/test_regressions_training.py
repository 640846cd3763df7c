"""What learning and fine-tuning odd networks has found, one small network a fault."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphprune import CompressConfig, LearnConfig, compress
from graphprune.compressed import Compressed
from graphprune.errors import TrainingError, UsageError
from graphprune.training.userloss import checked_loss

PICTURES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
QUICK = CompressConfig(learn=LearnConfig(epochs=1))


def _trained(model: nn.Module, x: torch.Tensor, method: str = "l2") -> Compressed:
    torch.manual_seed(0)
    result = compress(model, x[:2], method=method, data=(x, None), finetune_epochs=1, config=QUICK)
    assert isinstance(result, Compressed)
    return result


class _Shuffled(nn.Module):
    """Channels dealt out to two groups: what is kept of them has other numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        return self.last(y.relu())


def test_shuffled_channels_are_fine_tuned() -> None:
    assert _trained(_Shuffled(), PICTURES).plan.widths["first.weight"] == (8, 4)


def test_weights_of_channels_last_layout_are_fine_tuned() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
    last = torch.channels_last
    result = _trained(model.to(memory_format=last), PICTURES.contiguous(memory_format=last))
    assert result.certificate.passed


class _Overwritten(nn.Module):
    """A value that the gradient needs is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.sigmoid(self.first(x)).mul_(2))


@pytest.mark.parametrize("method", ["l2", "dirichlet", "taylor"])
def test_no_gradients_is_one_line(method: str) -> None:
    with pytest.raises(
        TrainingError, match=r"cannot be trained: .*inplace operation.*l2"
    ) as caught:
        _trained(_Overwritten(), torch.randn(8, 3), method)
    assert "\n" not in str(caught.value)


class _Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(6, 2)
        self.mixed = nn.Parameter(torch.randn(8, 6, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last((self.first(x).to(torch.complex64) @ self.mixed).abs())


class _Rows(nn.Module):
    """A table of which rows go: they lie along the dimension that elsewhere is the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)
        self.table = nn.Parameter(torch.randn(9, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).relu() + self.table[:4].sum(0))


@pytest.mark.parametrize("made", [_Complex, _Rows])
def test_switches_where_they_can_act(made: type[nn.Module]) -> None:
    assert _trained(made(), torch.randn(8, 4), "dirichlet").certificate.passed


def test_targets_that_a_loss_would_spread_over_all_examples_are_refused() -> None:
    loss = checked_loss(nn.functional.mse_loss)
    assert loss(torch.ones(5, 1), torch.zeros(5, 1)) == 1
    with pytest.raises(UsageError, match=r"target size.*output 5x1:float32 and target 5:float32"):
        loss(torch.ones(5, 1), torch.zeros(5))
