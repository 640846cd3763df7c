"""Isomorphic ranking: groups of one structure compete, whatever their names and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune import CompressConfig, analyse, capture, choose, compress
from graphprune.analysis.groups import Analysis
from graphprune.choosing.isomorphic import signatures
from graphprune.errors import TargetError


class Block(nn.Module):
    """Residual MLP block, or a gated one."""

    def __init__(self, hidden: int, *, gated: bool = False) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, hidden), nn.Linear(hidden, 6)
        self.gate = nn.Linear(6, hidden) if gated else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.gelu(self.up(x))
        return x + self.down(hidden if self.gate is None else hidden * self.gate(x))


def blocks(*made: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), *made, nn.Linear(6, 3)).eval()


def kinds(model: nn.Module, *shape: int) -> tuple[Analysis, dict[str, str]]:
    analysis = analyse(capture(model.eval(), torch.randn(2, *shape)).module)
    found = signatures(analysis, [[group] for group in analysis.groups])
    return analysis, {g.name: text for g, text in zip(analysis.groups, found, strict=True)}


def classes(found: dict[str, str]) -> set[frozenset[str]]:
    return {frozenset(n for n, k in found.items() if k == kind) for kind in found.values()}


def test_sizes_and_names_do_not_matter_operators_and_coupling_do() -> None:
    model = blocks(Block(8), Block(12), Block(8, gated=True), Block(5))
    _, found = kinds(model, 4)
    assert classes(found) == {
        frozenset({"0.weight"}),
        frozenset({"1.up.weight", "2.up.weight", "4.up.weight"}),
        frozenset({"3.up.weight"}),
    }


def test_another_nonlinearity_norm_or_kernel_rank() -> None:
    def conv(*between: nn.Module) -> list[nn.Module]:
        return [nn.Conv2d(4, 4, 3, padding=1), *between]

    model = nn.Sequential(
        *conv(nn.ReLU()),
        *conv(nn.ReLU()),
        *conv(nn.BatchNorm2d(4), nn.ReLU()),
        *conv(nn.GELU()),
        *conv(nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 2)),
    )
    _, found = kinds(model, 4, 4, 4)
    assert found["0.weight"] == found["2.weight"]
    assert len(classes(found)) == 5


def choices(scores: dict[str, torch.Tensor], analysis: Analysis, ranking: str) -> dict[str, int]:
    plan = choose(analysis, scores, "params=0.6", ranking=ranking).plan
    return {name: plan.widths[name][1] for name in scores}


def levels(analysis: Analysis, names: Sequence[str], *means: float) -> dict[str, torch.Tensor]:
    by_name = dict(zip(names, means, strict=True))
    return {g.name: by_name[g.name] + torch.linspace(0, 0.1, g.size) for g in analysis.groups}


def test_structures_are_thinned_alike_and_groups_within_them_by_score() -> None:
    model = blocks(Block(10), Block(10), Block(10, gated=True))
    analysis, _ = kinds(model, 4)
    names = ["0.weight", "1.up.weight", "2.up.weight", "3.up.weight"]
    scores = levels(analysis, names, 50.0, 1.0, 9.0, 0.01)
    alike = choices(scores, analysis, "isomorphic")
    # The second block is worth more than the first, so all that their structure loses is the
    # first's; the gated block is worth least of all, but competes with nobody.
    assert alike["1.up.weight"] < alike["2.up.weight"] == 10
    assert 1 < alike["3.up.weight"] < 10
    assert alike["0.weight"] < 6
    everywhere = choices(scores, analysis, "global")
    assert everywhere["3.up.weight"] == 1
    assert everywhere["0.weight"] == 6
    local = choices(scores, analysis, "local")
    assert local["1.up.weight"] == local["2.up.weight"] == local["3.up.weight"]


def test_on_the_whole_road() -> None:
    model: Any = blocks(Block(10), Block(7))
    config = CompressConfig(ranking="isomorphic")
    result = compress(model, torch.randn(2, 4), target="macs=0.5", method="l2", config=config)
    assert result.certificate.passed


def test_unknown_rankings_name_the_known() -> None:
    model = blocks(Block(5))
    analysis, _ = kinds(model, 4)
    with pytest.raises(TargetError, match="local, global, isomorphic"):
        choose(analysis, {}, "params=0.5", ranking="best")
