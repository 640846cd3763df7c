"""model.onnx is judged by the user's own loss on outputs nested as the model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.compressed import Compressed
from graphprune.exporters.report import Report


class Two(nn.Module):
    """(N, 4) to two heads in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.ReLU())
        self.first, self.second = nn.Linear(16, 2), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.body(x)
        return {"first": self.first(x), "second": self.second(x)}


def of_two(output: dict[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    error = (output["second"] - target).square().mean()
    return error + output["first"].square().mean()


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)), nn.functional.mse_loss),
        (Two(), of_two),
    ],
)
def test_the_file_has_the_loss_of_the_model(model: nn.Module, loss: Any, tmp_path: Path) -> None:
    data = torch.randn(60, 4), torch.randn(60, 1)
    config = CompressConfig(batch_size=16)
    result = compress(model, data[0][:2], method="l2", data=data, loss=loss, config=config)
    assert isinstance(result, Compressed)
    result.save(tmp_path / "out", latency=False)
    models = Report.load(tmp_path / "out" / "report.json").models
    assert models["onnx"].loss == pytest.approx(models["pruned"].loss, rel=1e-4)
