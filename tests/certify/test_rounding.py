"""Models that magnify rounding are proved in float64, and wrong ones are still found out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graphprune
from graphprune.errors import CertificateError
from graphprune.proof.compare import LIMITS
from graphprune.proof.rounding import in_double, own_rounding, within_rounding

LIMIT = LIMITS[torch.float32]


class Chaotic(nn.Module):
    """A logistic map upon two layers: each turn doubles what rounding has left."""

    def __init__(self, turns: int = 14) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 1024), nn.Linear(1024, 8)
        self.turns = turns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.sigmoid(self.second(torch.relu(self.first(x))))
        for _ in range(self.turns):
            x = 3.9 * x * (1 - x)
        return x


@pytest.fixture(scope="module")
def chaotic() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return Chaotic().eval(), torch.randn(4, 24)


@pytest.fixture(scope="module")
def result(chaotic: tuple[nn.Module, torch.Tensor]) -> Any:
    return graphprune.compress(*chaotic, method="l2", target="channels=0.5")


def test_a_model_that_magnifies_rounding_is_proved_in_float64(result: Any) -> None:
    assert result.certificate.in_double
    assert result.certificate.shrink_error < LIMITS[torch.float64]
    assert result.certificate.passed
    rounding = own_rounding(result.stages.small)
    assert rounding is not None
    assert 1e-5 < rounding < 1e-3


def test_its_files_are_proved_within_its_own_rounding(result: Any, tmp_path: Path) -> None:
    folder = result.save(tmp_path / "small", latency=False)
    certificate = graphprune.verify(folder)
    assert certificate.passed
    largest = max([*certificate.onnx_error.values(), certificate.reload_error or 0.0])
    assert largest > LIMIT, "the network is not chaotic enough to test anything"
    assert certificate.rounding is not None
    assert certificate.limit == pytest.approx(10 * certificate.rounding)


def test_its_class_takes_the_plan(result: Any, chaotic: tuple[nn.Module, torch.Tensor]) -> None:
    own = copy.deepcopy(chaotic[0])
    result.into(own)
    assert own.first.out_features == 512


def test_a_wrong_cut_of_it_is_noticed(
    chaotic: tuple[nn.Module, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = graphprune.passes.shrink.Shrink.call

    def wrong(self: Any, graph_module: Any) -> Any:
        done = cut(self, graph_module)
        with torch.no_grad():
            graph_module.get_parameter("second.bias")[0] += 1e-4
        return done

    monkeypatch.setattr(graphprune.passes.shrink.Shrink, "call", wrong)
    with pytest.raises(CertificateError, match="exceeds the limit"):
        graphprune.compress(*chaotic, method="l2", target="channels=0.5")


def test_a_limit_is_widened_for_the_models_own_rounding_alone(result: Any) -> None:
    small = result.stages.small

    def fails(above: float) -> Any:
        def check(limit: float) -> float:
            if limit < above:
                raise CertificateError("too far off")
            return limit

        return check

    rounding = own_rounding(small)
    assert rounding is not None
    assert within_rounding(small, LIMIT, fails(2 * rounding))[0] == pytest.approx(10 * rounding)
    with pytest.raises(CertificateError, match="too far off"):
        within_rounding(small, LIMIT, fails(20 * rounding))


def test_a_model_of_float64_has_no_wider_limit(
    chaotic: tuple[nn.Module, torch.Tensor],
) -> None:
    model, x = chaotic
    small = graphprune.capture(copy.deepcopy(model).double(), x.double())
    assert own_rounding(small) == 0.0


def test_what_is_written_into_state_is_read_again() -> None:
    state = torch.zeros(3)
    with in_double():
        state.add_(1)
        twice = state * 2
    assert twice.tolist() == [2, 2, 2]
    assert state.tolist() == [0, 0, 0], "the model's own state stays"


def test_recurrent_layers_run_in_double() -> None:
    layer, x = nn.LSTM(4, 5, batch_first=True), torch.randn(2, 3, 4)
    with torch.no_grad(), in_double():
        wide, _ = layer(x)
    with torch.no_grad():
        narrow, _ = layer(x)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), narrow)
