"""What evaluation never reads does not stay in the small model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from graphprune import capture, compress
from graphprune.analysis.overview import overview
from graphprune.compressed import Compressed
from graphprune.delivery.measure import count_parameters
from graphprune.passes.drop_unread import DropUnread, unread_parameters
from graphprune.testing import assert_pass


class Auxiliary(nn.Module):
    """A second head for training, and a tied weight whose bias is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.extra, self.tied = nn.Linear(8, 4), nn.Linear(8, 4)
        self.tied.weight = self.head.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.first(x)).relu()
        if self.training:
            h = h + self.extra(h.mean((2, 3)))[:, :1, None, None]
        out: torch.Tensor = self.head(self.second(h).relu().mean((2, 3)))
        return out


X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_only_what_no_call_reads_goes() -> None:
    captured = capture(Auxiliary(), X)
    assert unread_parameters(captured.module) == ["extra.weight", "extra.bias", "tied.bias"]
    buffers = set(dict(captured.module.named_buffers()))
    assert_pass(DropUnread(), module=captured.module, inputs=X, modified=True)
    module = copy.deepcopy(captured.module)
    assert DropUnread()(module).modified
    assert not DropUnread()(module).modified
    named = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    assert {"head.weight", "tied.weight", "norm.weight"} <= named
    assert not any(name.startswith("extra") for name in named)
    assert set(dict(module.named_buffers())) == buffers


def test_the_small_model_is_without_it_and_says_so() -> None:
    model = Auxiliary().eval()
    result = compress(model, X, method="l2")
    assert isinstance(result, Compressed)
    assert sum(p.numel() for p in result.model.parameters()) == (
        (4 * 3 * 9 + 4) + (4 * 4 * 9 + 4) + 2 * 4 + (4 * 4 + 4)
    )
    counted = "evaluation never reads them: 40 parameters (extra.weight, extra.bias, tied.bias)"
    assert any(counted in note for note in result.report.notes)
    into = copy.deepcopy(model)
    result.into(into)
    assert into.extra.weight.shape == (4, 8)  # not the graph's, so it stays as it is
    torch.testing.assert_close(into(X), result.model(X))


@pytest.mark.parametrize("target", ["params=0.8", "params=0.5"])
def test_a_budget_is_for_the_rest(target: str) -> None:
    result = compress(Auxiliary().eval(), X, method="l2", target=target)
    assert isinstance(result, Compressed)
    read = count_parameters(Auxiliary()) - 40
    shown = overview(result.stages.dense, result.stages.analysis)
    assert (shown["params"], shown["params_unread"]) == (read, 40)
    assert result.report.models["dense"].parameters == read
    reached = count_parameters(result.model) / read
    assert reached == pytest.approx(result.report.reached["params"], abs=1e-3)
    assert reached == pytest.approx(float(target.partition("=")[2]), abs=0.1)


def test_a_small_model_without_it_can_be_trained_and_proved() -> None:
    data = (torch.randn(16, 3, 8, 8), torch.randint(0, 4, (16,)))
    result = compress(Auxiliary().eval(), X, method="l2", data=data, finetune_epochs=1)
    assert isinstance(result, Compressed)
    assert result.certificate.passed
