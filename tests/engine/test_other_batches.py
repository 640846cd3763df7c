"""What a graph says of one batch size is not taken for what the model does at another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import graphprune
from graphprune.errors import ModelError

Tensor = torch.Tensor


class _Correlation(nn.Module):
    """A tracker's cross-correlation: examples and channels are the groups of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        k, x = self.features(z), self.features(x)
        b, c = k.shape[:2]
        x, k = x.view(1, b * c, *x.shape[2:]), k.view(b * c, 1, *k.shape[2:])
        y = F.conv2d(x, k, groups=b * c)
        return self.head(y.view(b, c, *y.shape[2:]))


class _Around(nn.Module):
    def __init__(self, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.middle = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(8, 4, 1)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.call(self, torch.relu(self.first(x))))


def _compress(model: nn.Module, *inputs: Tensor) -> graphprune.compressed.Compressed:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    result = graphprune.compress(model.eval(), inputs, method="l2", target="channels=0.5")
    assert isinstance(result, graphprune.compressed.Compressed)
    return result


def test_groups_of_channels_and_examples_keep_the_batch_free(tmp_path: Path) -> None:
    model = _Correlation()
    result = _compress(model, torch.randn(2, 3, 8, 8), torch.randn(2, 3, 16, 16))
    assert result.stages.small.dynamic_batch
    for batch in (1, 2, 5):
        inputs = torch.randn(batch, 3, 8, 8), torch.randn(batch, 3, 16, 16)
        assert result.model(*inputs).shape == model(*inputs).shape
    result.into(model)
    small = result.model(*inputs)
    torch.testing.assert_close(model(*inputs), small)


MIXED = {
    "split": lambda _, y: torch.cat([y.flatten(0, 1)] * 2).split(len(y) * y.shape[1])[1],
    "chunk": lambda _, y: torch.cat([y.flatten(0, 1)] * 2).chunk(2)[1],
    "narrow": lambda _, y: torch.cat([y.flatten(0, 1)] * 2).narrow(0, 0, len(y) * y.shape[1]),
}


@pytest.mark.parametrize("name", MIXED)
def test_where_only_one_batch_is_known_the_model_takes_no_other(name: str, tmp_path: Path) -> None:
    def call(module: nn.Module, y: Tensor) -> Tensor:
        return MIXED[name](module, y).view(*y.shape) + 0 * y

    result = _compress(_Around(call), torch.randn(2, 3, 5, 5))
    assert not result.stages.small.dynamic_batch
    assert any("batches of the examples' size only" in note for note in result.report.notes)
    folder = result.save(tmp_path / "small", latency=False)
    assert graphprune.verify(folder).passed


BRANCHES: dict[str, tuple[int, Callable[[nn.Module, Tensor], bool]]] = {
    "above three": (4, lambda _, y: y.shape[0] > 3),
    "one": (1, lambda _, y: y.shape[0] == 1),
    "a multiple of four": (8, lambda _, y: y.shape[0] % 4 == 0),
    "few, from the other side": (2, lambda _, y: y.shape[0] > 2),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_on_the_batch_size_fixes_it(name: str) -> None:
    batch, asked = BRANCHES[name]

    def call(module: nn.Module, y: Tensor) -> Tensor:
        return torch.relu(module.get_submodule("middle")(y)) if asked(module, y) else y

    model, x = _Around(call), torch.randn(batch, 3, 5, 5)
    result = _compress(model, x)
    assert result.stages.dense.batch_dims == (None,)
    torch.testing.assert_close(result.stages.dense.module(x), model(x))


def _while_traced(module: nn.Module, y: Tensor) -> Tensor:
    return y if torch.compiler.is_exporting() else torch.relu(module.get_submodule("middle")(y))


def _or_else(module: nn.Module, y: Tensor) -> Tensor:
    try:
        scale = float(y.sum())
    except Exception:  # noqa: BLE001 - as people write it
        return y
    return y * scale + module.get_submodule("middle")(y)


@pytest.mark.parametrize("call", [_while_traced, _or_else])
def test_a_forward_that_takes_another_road_while_traced_is_refused(
    call: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    with pytest.raises(ModelError, match="gives other values than the model itself"):
        _compress(_Around(call), torch.randn(2, 3, 5, 5))


def test_asking_leaves_the_models_attributes_as_they_were() -> None:
    class Counting(_Around):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    model = Counting(lambda _, y: y)
    graphprune.capture(model.eval(), torch.randn(2, 3, 5, 5))
    before = model.calls
    graphprune.capture(model, torch.randn(2, 3, 5, 5))
    assert model.calls - before <= 2, "but for what torch.export itself does"


class _Products(nn.Module):
    def __init__(self, call: Callable[[Tensor, Tensor], Tensor], size: int) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(size, 3)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.call(self.one(x), self.two(x)))


def _outer(x: Tensor, y: Tensor) -> Tensor:
    return x[:, :, None] * y[:, None]


def test_the_diagonal_of_two_channel_dimensions_unites_them() -> None:
    result = _compress(
        _Products(lambda x, y: _outer(x, y).diagonal(dim1=1, dim2=2), 8), torch.randn(2, 6)
    )
    assert result.plan.kept["one.weight"][0] == result.plan.kept["two.weight"][0]
    assert len(result.plan.kept["one.weight"][0]) == 4


@pytest.mark.parametrize(
    ("call", "size", "reason"),
    [
        (lambda x, y: _outer(x, y).diagonal(1, dim1=1, dim2=2), 7, "diagonal"),
        (lambda x, y: (x + y).unfold(1, 2, 2).sum(-1), 4, "windows of unfold"),
    ],
)
def test_what_picks_channels_by_number_keeps_them(
    call: Callable[[Tensor, Tensor], Tensor], size: int, reason: str
) -> None:
    with pytest.raises(graphprune.errors.TargetError, match=reason):
        _compress(_Products(call, size), torch.randn(2, 6))
