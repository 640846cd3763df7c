"""Tables of parameters that are looked up bring forth channels of their own."""

from __future__ import annotations

import pytest
import torch
from engine_oracle import LIMIT, prune
from hand_worked import groups
from torch import nn

from graphprune import compress
from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.switches.placement import switch_sites

WIDTH = 8


class Factors(nn.Module):
    """Matrix factorisation: two tables whose rows are multiplied, nothing else."""

    def __init__(self, *, fixed: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.offset = nn.Parameter(torch.randn(20))
        self.items = nn.Parameter(torch.randn(30, WIDTH))
        if fixed:
            self.register_buffer("users", torch.randn(20, WIDTH))
        else:
            self.users = nn.Parameter(torch.randn(20, WIDTH))
        self.never_read = nn.Parameter(torch.randn(4, WIDTH))

    def forward(self, who: torch.Tensor, what: torch.Tensor) -> torch.Tensor:
        rows = self.users[who] * self.scale
        return (rows * self.items.index_select(0, what)).sum(-1) + self.offset[who]


def _captured(model: nn.Module) -> Captured:
    return capture(model, (torch.randint(0, 20, (6,)), torch.randint(0, 30, (6,))))


def test_two_tables_share_one_group() -> None:
    captured = _captured(Factors())
    analysis = analyse(captured.module)
    ((name, (size, members)),) = groups(analysis).items()
    assert name in ("users", "items")
    assert size == WIDTH
    assert members == {("users", 1), ("items", 1), ("scale", 0)}
    shrunk = prune(captured, analysis, "channels=0.5")
    assert shrunk.error <= LIMIT
    assert shrunk.plan.widths == {name: (WIDTH, WIDTH // 2)}


def test_the_switch_stands_behind_the_tables() -> None:
    sites = switch_sites(analyse(_captured(Factors()).module))
    assert {site.node for site in sites} == {"users", "items"}  # not behind the scale


@pytest.mark.parametrize("method", ["l2", "dirichlet", "activation-var"])
def test_compress_keeps_the_columns_that_count(method: str) -> None:
    model = Factors()
    with torch.no_grad():
        model.users[:, 4:] = 1e-3 * model.users[:, 4:]
        model.items[:, 4:] = 1e-3 * model.items[:, 4:]
    inputs = (torch.randint(0, 20, (64,)), torch.randint(0, 30, (64,)))
    data = [(inputs, None)] if method != "l2" else None
    result = compress(model, inputs, method=method, target="channels=0.5", data=data)
    assert result.plan.kept["users"] == {1: [0, 1, 2, 3]}
    assert result.model.get_parameter("items").shape == (30, 4)


def test_what_a_buffer_brings_forth_stays() -> None:
    """Fixed features are the user's choice, like an input's."""
    assert groups(analyse(_captured(Factors(fixed=True)).module)) == {}


def test_a_weight_that_only_meets_a_constant_is_no_table() -> None:
    class Angles(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(WIDTH, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            angles = torch.sin(x * torch.arange(1, WIDTH + 1))
            return self.last(self.first(angles).relu())

    captured = capture(Angles(), torch.randn(3, 1))
    found = groups(analyse(captured.module))
    assert found == {
        "first.weight": (6, {("first.weight", 0), ("first.bias", 0), ("last.weight", 1)})
    }
