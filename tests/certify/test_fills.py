"""Huge constants in an output (masked logits) hide no error of the rest."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import graphprune
from graphprune.errors import CertificateError
from graphprune.exporters.onnx import export_onnx
from graphprune.proof.certify import certify_cut, certify_onnx
from graphprune.proof.compare import max_error_of_calls, max_relative_error, require_informative
from graphprune.proof.fills import largest_ordinary

LOWEST = torch.finfo(torch.float32).min
FILLS = (-1e4, -1e9, LOWEST, -math.inf)


class _Policy(nn.Module):
    """Scores of actions, of which some are not allowed."""

    def __init__(self, fill: float) -> None:
        super().__init__()
        self.hidden, self.scores, self.fill = nn.Linear(8, 32), nn.Linear(32, 5), fill

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.scores(self.hidden(x).relu()).masked_fill(~mask, self.fill)


class _Similarities(nn.Module):
    """How alike the examples are, but for each with itself."""

    def __init__(self, fill: float) -> None:
        super().__init__()
        self.hidden, self.code, self.fill = nn.Linear(8, 32), nn.Linear(32, 5), fill

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = nn.functional.normalize(self.code(self.hidden(x).relu()), dim=1)
        same = torch.eye(x.shape[0], dtype=torch.bool)
        return (code @ code.t()).masked_fill(same, self.fill)


def _masked() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[0, 1] = mask[1, 4] = False
    return torch.randn(3, 8), mask


@pytest.mark.parametrize("fill", FILLS)
def test_models_with_fills_are_proved_and_wrong_ones_are_refused(fill: float) -> None:
    torch.manual_seed(0)
    result = graphprune.compress(_Policy(fill).eval(), _masked(), method="l2")
    wrong = copy.deepcopy(result.model)
    with torch.no_grad():
        wrong.get_parameter("scores.bias").add_(1e-3)
    with pytest.raises(CertificateError, match="exceeds the limit"):
        certify_cut(result.stages.small, wrong)


@pytest.mark.parametrize("fill", FILLS)
def test_fills_that_no_input_moves(fill: float) -> None:
    torch.manual_seed(0)
    result = graphprune.compress(_Similarities(fill).eval(), torch.randn(4, 8), method="l2")
    assert result.certificate.passed


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    captured, path = graphprune.capture(_Policy(-1e9).eval(), _masked()), tmp_path / "model.onnx"
    export_onnx(captured, path)
    assert max(certify_onnx(captured, path).values()) < 1e-5
    file = onnx.load(path)
    for tensor in file.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == "float32" and values.size > 4:
            tensor.CopyFrom(numpy_helper.from_array(values * 1.01, tensor.name))
    onnx.save(file, path)
    with pytest.raises(CertificateError, match="onnxruntime against PyTorch"):
        certify_onnx(captured, path)


def test_a_mask_that_moves_does_not_stand_for_scores_that_do() -> None:
    first = torch.tensor([[-1e9, 0.5, 0.25], [0.5, 0.25, -1e9]])
    require_informative([first, first.roll(1, 0) + torch.tensor([0.0, 0.1, 0.0])], 1e-4)
    still = torch.tensor([[0.5, -1e9, 0.25], [-1e9, 0.25, 0.5]])
    for fill in (-1e9, -math.inf):
        with pytest.raises(CertificateError, match="does not vary"):
            require_informative([one.where(one > -1e9, fill) for one in (first, still)], 1e-4)


def test_a_fill_is_known_from_all_calls() -> None:
    calls = [torch.tensor([-1e9, 1.0, 2.0]), torch.tensor([3.0, -1e9, 2.0])]
    wrong = [calls[0], torch.tensor([3.3, -1e9, 2.0])]
    assert max_error_of_calls(wrong, calls) == pytest.approx(0.1, rel=1e-3)
    # Not of those of the model that is checked.
    assert max_error_of_calls([calls[1]] * 2, [torch.tensor([3.0, 1.0, 2.0])] * 2) > 1e8


def test_a_fill_must_be_a_fill_in_both() -> None:
    expected = torch.tensor([-1e9, -1e9, 1.0, 2.0])
    assert max_relative_error(torch.tensor([-1e9, 0.0, 1.0, 2.0]), expected) == pytest.approx(1.0)
    assert max_relative_error(torch.tensor([-1e9, -1e9, -1e9, 2.0]), expected) > 1e8
    assert max_relative_error(torch.tensor([-1.1e9, -1e9, 1.0, 2.0]), expected) > 0.09


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1e9, -1e9, 3.0, 2.0], 3.0),
        ([-1e4 + 0.5, -1e4 - 2.0, 3.0, 2.0], 3.0),  # added to what it hides
        ([-2e9, -2e9, -1e9, -1e9, 3.0], 3.0),  # two masks added
        ([LOWEST, LOWEST, 1e9, 1e9, 3.0], 3.0),
        ([-math.inf, -math.inf, 3.0, 2.0], math.inf),
        ([1e6, 3.0, 2.0], math.inf),  # a single one may be what the model computed
        ([1e6, 7e5, 3.0, 2.0], math.inf),  # so may unlike ones
        ([1.0, 1.0, 0.0, 0.0], math.inf),  # one-hot codes
        ([1.0, 1.0, 1e-8, 0.0], math.inf),  # and with the rounding of how they were computed
        ([255.0, 255.0, 0.0, 0.0], math.inf),  # a picture in black and white
        ([6.0, 6.0, 5.0, 0.1], math.inf),  # clipped
        ([], math.inf),
    ],
)
def test_what_is_taken_for_a_fill(values: list[float], expected: float) -> None:
    assert largest_ordinary([torch.tensor(values)]) == expected


def test_entries_that_are_small_beside_computed_ones_may_have_their_rounding() -> None:
    expected = torch.tensor([[1e6, 7e5], [0.5, 2.0]])
    assert max_relative_error(expected + 0.03, expected) < 1e-7
