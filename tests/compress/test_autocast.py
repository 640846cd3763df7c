"""Models that compute in reduced precision by themselves are pruned as they compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.fx.passes.infra.pass_base import PassResult

import graphprune
from graphprune.errors import ModelError
from graphprune.passes.inline_regions import InlineRegions


class _Half(nn.Module):
    """All of it in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.last(torch.relu(self.first(x)))


class _Part(_Half):
    """A part of a part in float32 again, and the rest too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = self.first(x)
            with torch.autocast("cpu", enabled=False):
                h = torch.relu(h.float() * 1.001)
            return self.last(h).float()


class _Off(_Half):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.last(torch.relu(self.first(x)))


class _Named(nn.Module):
    """With a name that torch.fx keeps for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.last = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.last(torch.relu(self.code(x)))


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("kind", [_Half, _Part, _Off, _Named])
def test_what_is_pruned_computes_as_the_model_does(kind: type[nn.Module], exported: bool) -> None:
    torch.manual_seed(0)
    model, x = kind().eval(), torch.randn(3, 8)
    given: Any = model
    if exported:
        given = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    result = graphprune.compress(given, x, method="l2")
    expected = model(x)
    assert torch.equal(result.stages.dense.module(x), expected)
    assert result.model(x).dtype == expected.dtype
    assert result.model(torch.cat([x, x])).shape == (6, 4)
    small, whole = (
        sum(p.numel() for p in m.parameters()) for m in (result.model, result.stages.dense.module)
    )
    assert small < whole


def test_blocks_that_cannot_be_traced_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such kernel")

    x = torch.randn(3, 8)
    program = torch.export.export(_Half().eval(), (x,))
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", fail)
    with pytest.raises(ModelError, match=r"under autocast.*no such kernel; capture it without"):
        graphprune.capture(program, x)


@pytest.mark.parametrize("how", ["values", "dtype"])
def test_a_program_is_compared_with_its_graph(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever simplifies it wrongly."""

    def spoil(self: InlineRegions, graph_module: fx.GraphModule) -> PassResult:
        operator, extra = {
            "values": (torch.ops.aten.mul.Tensor, 1.01),
            "dtype": (torch.ops.aten.to.dtype, torch.float64),
        }[how]
        output = graph_module.graph.output_node()
        (last,) = output.all_input_nodes
        with graph_module.graph.inserting_before(output):
            wrong = graph_module.graph.call_function(operator, (last, extra))
        wrong.meta = dict(last.meta)
        output.replace_input_with(last, wrong)
        graph_module.recompile()
        return PassResult(graph_module, True)

    x = torch.randn(3, 8)
    program = torch.export.export(nn.Linear(8, 4).eval(), (x,))
    assert graphprune.capture(program, x)
    monkeypatch.setattr(InlineRegions, "call", spoil)
    with pytest.raises(ModelError, match="other values when its graph is simplified"):
        graphprune.capture(program, x)
