"""Criteria of weights against answers worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.criteria.base import Criterion, Evidence
from graphprune.criteria.bn_scale import NormScale
from graphprune.criteria.cosine import ALONE, Cosine
from graphprune.criteria.fpgm import GeometricMedian
from graphprune.criteria.lamp import Lamp
from graphprune.criteria.magnitude import L1, L2
from graphprune.criteria.rows import channel_rows, coupled_rows


def evidence(model: nn.Module, *shape: int) -> Evidence:
    captured = capture(model.eval(), torch.randn(2, *shape))
    return Evidence(analyse(captured.module), captured)


def chain(rows: torch.Tensor, columns: torch.Tensor) -> nn.Sequential:
    """Linear, ReLU, linear without biases: rows (D, I) make the channels, columns (O, D) read."""
    model = nn.Sequential(
        nn.Linear(rows.shape[1], len(rows), bias=False),
        nn.ReLU(),
        nn.Linear(len(rows), len(columns), bias=False),
    )
    with torch.no_grad():
        model[0].weight.copy_(rows)
        model[2].weight.copy_(columns)
    return model


def scores(criterion: Criterion, model: nn.Module, *shape: int) -> torch.Tensor:
    (found,) = criterion.score(evidence(model, *shape)).values()
    return found


def test_channel_rows_of_columns_blocks_and_grids() -> None:
    values = torch.arange(12.0).reshape(2, 6)
    blocks = torch.tensor([[0, 0, 1, 1, -1, 2]])
    expected = [[0.0, 6, 1, 7], [2, 8, 3, 9], [5, 11, 0, 0]]
    assert channel_rows(values, blocks, 3).tolist() == expected
    grid = torch.tensor([[1, 0, 1], [0, 1, 0]]).reshape(2, 3, 1)
    laid = channel_rows(values.reshape(2, 3, 2), grid, 2)
    assert laid.tolist() == [[2, 3, 6, 7, 10, 11], [0, 1, 4, 5, 8, 9]]


def test_a_flattened_channel_is_the_whole_of_its_block() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(48, 5, bias=False)
    )
    given = evidence(model, 2, 4, 4)
    (group,) = given.analysis.groups
    head = model[2].weight.reshape(5, 3, 16).permute(1, 2, 0).reshape(3, -1)
    expected = [rows / rows.square().mean().sqrt() for rows in (model[0].weight.flatten(1), head)]
    found = coupled_rows(given.analysis, group)
    torch.testing.assert_close(found, torch.cat(expected, 1).detach())


def test_fpgm_is_the_mean_distance_to_all_channels() -> None:
    rows, columns = torch.randn(5, 3), torch.randn(2, 5)
    channels = torch.cat(
        [rows / rows.square().mean().sqrt(), columns.T / columns.square().mean().sqrt()], 1
    )
    expected = torch.stack([(channels - one).norm(dim=1).mean() for one in channels])
    found = scores(GeometricMedian(), chain(rows, columns), 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_fpgm_removes_the_middle_first_whatever_its_norm() -> None:
    rows = torch.tensor([[0.0, 9], [4, 9], [-4, 9], [0, 13], [0, 5]])
    model = chain(rows, torch.ones(2, 5))
    assert scores(GeometricMedian(), model, 2).argmin() == 0
    assert scores(L2(), model, 2).argmin() == 4


def test_cosine_drops_the_smaller_of_two_alike_and_judges_the_other_anew() -> None:
    rows = torch.tensor([[1.0, 0], [0, 1], [1, 0.1], [2, 0], [0, 0]])
    columns = torch.tensor([[1.0, 0, 1, 2, 0]])
    model = chain(rows, columns)
    with torch.no_grad():  # channel 3 is channel 0 doubled, 4 is nothing
        found = scores(Cosine(), model, 2)
    scaled = rows / rows.square().mean().sqrt(), columns.T / columns.square().mean().sqrt()
    channels = torch.cat(scaled, 1)

    def apart(one: int, other: int) -> float:
        return 1 - float(F.cosine_similarity(channels[one], channels[other], dim=0))

    assert found[4] == 0
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[2] == pytest.approx(apart(2, 3), abs=1e-6)
    assert found[1] == pytest.approx(apart(1, 3), abs=1e-6)
    assert found[3] == ALONE


def test_of_copies_one_stays() -> None:
    rows, columns = torch.randn(4, 6).repeat(2, 1), torch.randn(3, 4).repeat(1, 2)
    found = scores(Cosine(), chain(rows, columns), 6)
    assert found[4:].max() < 1e-5
    assert found[:4].min() > 1e-2


def test_lamp_by_hand() -> None:
    """Squares 1, 4, 9 and 2 by producer and the same by consumer."""
    sizes = torch.tensor([1.0, 4, 9, 2]).sqrt()
    found = scores(Lamp(), chain(sizes[:, None], sizes[None]), 1)
    torch.testing.assert_close(
        found, torch.tensor([1 / 16, 4 / 13, 1, 2 / 15], dtype=torch.float64), rtol=1e-5, atol=0
    )


class Normed(nn.Module):
    """One group with two batch norms, one with a layer norm, one without any."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)
        self.norm_a, self.norm_b = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.c, self.norm_c = nn.Linear(4, 5), nn.LayerNorm(5)
        self.d, self.head = nn.Linear(5, 6), nn.Linear(6, 2)
        for norm in (self.norm_a, self.norm_b, self.norm_c):
            nn.init.normal_(norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm_a(self.a(x)) + self.norm_b(self.b(x)))
        return self.head(F.relu(self.d(F.relu(self.norm_c(self.c(x))))))


def test_scales_of_norms_and_the_way_out_without_one() -> None:
    model = Normed()
    given = evidence(model, 3)
    found = NormScale().score(given)
    two = (model.norm_a.weight.abs() + model.norm_b.weight.abs()).detach() / 2
    torch.testing.assert_close(found["a.weight"], two.double())
    torch.testing.assert_close(found["c.weight"], model.norm_c.weight.detach().abs().double())
    l2 = L2().score(given)["d.weight"]
    torch.testing.assert_close(found["d.weight"] / found["d.weight"].mean(), l2 / l2.mean())
    level = torch.cat([found["a.weight"], found["c.weight"]]).mean()
    torch.testing.assert_close(found["d.weight"].mean(), level)
    assert given.notes == ["no norm scales all of d.weight: ranked by the L2 norm of weights"]


def test_without_any_norm_it_is_l2() -> None:
    model = chain(torch.randn(5, 3), torch.randn(2, 5))
    assert torch.equal(scores(NormScale(), model, 3).argsort(), scores(L2(), model, 3).argsort())


class Beside(nn.Module):
    """Channels of two groups side by side in what reads them, and a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.few, self.many = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 40, 3)
        self.norm = nn.BatchNorm2d(4)
        self.each = nn.Conv2d(4, 4, 3, groups=4, padding=1)
        self.last = nn.Conv2d(44, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        few = self.each(F.relu(self.norm(self.few(x))))
        return self.last(torch.cat([few, F.relu(self.many(x))], 1)).mean((2, 3))


@pytest.mark.parametrize("criterion", [L1(), L2()])
def test_magnitude_is_the_norm_of_rows_of_mean_size_one(criterion: L2) -> None:
    """The formula of the docstring; of a tensor that groups share, the part of each by itself."""
    torch.manual_seed(0)
    model = Beside()
    with torch.no_grad():
        model.last.weight[:, 4:] *= 100
        nn.init.uniform_(model.norm.weight)
        nn.init.normal_(model.norm.bias)
    found = criterion.score(evidence(model, 3, 6, 6))["few.weight"]
    held = [
        *(p for part in (model.few, model.norm, model.each) for p in part.parameters()),
        model.last.weight[:, :4].transpose(0, 1),
    ]
    rows = [part.detach().double().reshape(4, -1).abs().pow(criterion.power) for part in held]
    expected = sum(row.sum(1) / row.mean() for row in rows)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(
        found, expected.pow(1 / criterion.power), rtol=1e-5, atol=0, check_dtype=False
    )
