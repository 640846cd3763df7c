"""Every registered criterion carries a compression through, by name, to a certificate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from planted import Attention, Residual
from torch import nn

from graphprune import CompressConfig, compress
from graphprune.criteria.base import needs_data
from graphprune.errors import UsageError
from graphprune.registry import CRITERIA

SHAPES: dict[type[nn.Module], tuple[int, ...]] = {Residual: (3, 6, 6), Attention: (5, 6)}


def data(kind: type[nn.Module]) -> Any:
    return torch.randn(32, *SHAPES[kind]), torch.randint(0, 4, (32,))


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", CRITERIA.names())
def test_compressing_by_name(name: str, kind: type[nn.Module]) -> None:
    given = data(kind) if needs_data(CRITERIA.load(name)) else None
    result = compress(
        kind().eval(),
        torch.randn(2, *SHAPES[kind]),
        method=name,
        target="params=0.6",
        data=given,
        config=CompressConfig(batch_size=8),
    )
    assert result.certificate.passed
    assert result.report.method == name
    assert result.report.reached["params"] == pytest.approx(0.6, abs=0.12)  # whole heads go
    for group in result.stages.analysis.groups:
        scores = result.stages.scores.by_group[group.name]
        assert scores.shape == (group.size,)
        assert bool(torch.isfinite(scores).all())
        assert scores.unique().numel() > 1


@pytest.mark.parametrize("name", [n for n in CRITERIA.names() if needs_data(CRITERIA.load(n))])
def test_without_data_the_error_says_what_to_do(name: str) -> None:
    with pytest.raises(UsageError, match=f"method {name} measures on data; give --data") as caught:
        compress(Residual().eval(), torch.randn(2, 3, 6, 6), method=name)
    assert "\n" not in str(caught.value)


def test_options_are_given_with_the_name() -> None:
    result = compress(
        Residual().eval(),
        torch.randn(2, 3, 6, 6),
        method="obd{probes=2, batches=1}",
        data=torch.randn(32, 3, 6, 6),
        config=CompressConfig(batch_size=8),
    )
    assert result.certificate.passed
    with pytest.raises(UsageError, match="samples"):
        compress(Residual().eval(), torch.randn(2, 3, 6, 6), method="fisher{samples=2}", data=1)


def test_notes_of_a_criterion_reach_the_report() -> None:
    result = compress(Residual().eval(), torch.randn(2, 3, 6, 6), method="bn-scale")
    assert any("no norm scales all of stem.weight" in note for note in result.report.notes)
