"""A graph refuses sizes that it was not captured for, where it might compute something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import graphprune
from graphprune import capture, compress
from graphprune.errors import DataError


class Recurrence(nn.Module):
    """(N, T, 8) -> (N, 4): a loop over time in Python, which the graph holds unrolled."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(x.shape[0], 16)
        for step in range(x.shape[1]):
            h = self.cell(x[:, step], h)
        return self.out(h)


class Branching(nn.Module):
    """(N, 8) -> (N, 5): centred over the batch where it is large."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.b(torch.relu(self.a(x)))
        return z - z.mean(0, keepdim=True) if x.shape[0] > 2 else z


class Nested(nn.Module):
    """Tensors in a dict and a list, and one by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 8)

    def forward(
        self, parts: dict[str, object], *, scale: torch.Tensor, flag: bool = True
    ) -> torch.Tensor:
        first, rest = parts["first"], parts["rest"]
        assert isinstance(first, torch.Tensor)
        assert isinstance(rest, list)
        return (self.linear(first) + self.linear(rest[0])) * scale if flag else scale


def test_a_longer_sequence_is_refused_by_result_and_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    result = compress(Recurrence().eval(), torch.randn(2, 6, 8), method="l2", target="channels=0.5")
    assert not any("the examples' sizes only" in note for note in result.report.notes)
    result.save(tmp_path / "out", latency=False)
    for module in (result.model, graphprune.load(tmp_path / "out")):
        assert module(torch.randn(5, 6, 8)).shape == (5, 4)
        with pytest.raises(DataError, match=r"input x is 2x9x8, but this graph is for Nx6x8"):
            module(torch.randn(2, 9, 8))


def test_another_batch_is_refused_where_the_model_branches_on_it() -> None:
    torch.manual_seed(0)
    result = compress(Branching().eval(), torch.randn(4, 8), method="l2", target="channels=0.5")
    assert any("the examples' sizes only" in note for note in result.report.notes)
    assert result.model(torch.randn(4, 8)).shape == (4, 5)
    with pytest.raises(DataError, match=r"input x is 1x8, but this graph is for 4x8"):
        result.model(torch.randn(1, 8))


def test_inputs_within_containers_are_looked_at_by_name() -> None:
    def inputs(batch: int, scales: int, width: int = 4) -> dict[str, object]:
        x = torch.randn(batch, width)
        return {"parts": {"rest": [x], "first": x}, "scale": torch.randn(scales, 1)}

    module = capture(Nested().eval(), inputs(3, 3)).module
    assert module(**inputs(5, 5)).shape == (5, 8)
    with pytest.raises(DataError, match=r"input parts_rest_0 is 5x3, .* for Nx4"):
        module(**inputs(5, 5, width=3))
    with pytest.raises(DataError, match=r"input scale is 2x1, .* for Nx1 \(.*here 5"):
        module(**inputs(5, 2))
    with pytest.raises(TypeError):
        module(torch.randn(3, 4))


def test_what_else_a_program_leaves_free_is_told() -> None:
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    x, free = torch.randn(2, 3, 12, 12), torch.export.Dim.DYNAMIC
    sizes = ({0: free, 2: free, 3: free},)
    program = torch.export.export(nn.Sequential(*layers).eval(), (x,), dynamic_shapes=sizes)
    result = compress(program, (x,), method="l2")
    assert result.model(torch.randn(3, 3, 20, 15)).shape == (3, 2, 20, 15)
    (told,) = (note for note in result.report.notes if "examples' sizes" in note)
    assert "dimension 2 of input, dimension 3 of input" in told
    plain = compress(nn.Sequential(*layers).eval(), (x,), method="l2")
    assert not plain.report.notes
