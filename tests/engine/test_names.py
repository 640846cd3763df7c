"""Models whose attributes are named like those of torch.fx's and torch.export's own modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import fx, nn

from graphprune import compress, load
from graphprune.graph.names import graph_name, model_name

NAMES = ("code", "graph", "meta", "recompile", "frozen", "self", "shape_env", "validate_inputs")
KINDS = ("module", "parameter", "buffer")


class Named(nn.Module):
    """Two layers; the first, or its weight, has the name."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__()
        self.named, self.last = (name, kind), nn.Linear(16, 4)
        if kind == "module":
            self.add_module(name, nn.Linear(6, 16))
        elif kind == "parameter":
            self.register_parameter(name, nn.Parameter(torch.randn(16, 6)))
        else:
            self.register_buffer(name, torch.randn(16, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        name, kind = self.named
        own = {"module": self._modules, "parameter": self._parameters, "buffer": self._buffers}
        first = own[kind][name]
        hidden = first(x) if isinstance(first, nn.Module) else x @ first.t()
        return self.last(torch.relu(hidden))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_model_may_use_names_of_the_graph(name: str, kind: str) -> None:
    model = Named(name, kind)
    result = compress(model, torch.randn(3, 6), method="l2", target="channels=0.5")
    result.into(model)
    assert model.last.weight.shape == (4, 8)
    weight = f"{name}.weight" if kind == "module" else name
    assert model.state_dict()[weight].shape == (8, 6)


def test_a_program_of_such_a_model_is_left_as_it_was(tmp_path: Path) -> None:
    program = torch.export.export(Named("code", "module"), (torch.randn(3, 6),))
    names = list(program.state_dict)
    result = compress(program, torch.randn(3, 6), method="l2", target="channels=0.5")
    assert (
        list(program.state_dict)
        == names
        == ["last.weight", "last.bias", "code.weight", "code.bias"]
    )
    small = load(result.save(tmp_path / "out", latency=False))
    assert small.state_dict()["code_of_model.weight"].shape == (8, 6)


def test_keys_may_be_words_of_python() -> None:
    class Routes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.routes = nn.ModuleDict({"in": nn.Linear(6, 16), "global": nn.Linear(16, 4)})
            self.scale = nn.ParameterDict({"lambda": nn.Parameter(torch.rand(16))})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.routes["global"](torch.relu(self.routes["in"](x)) * self.scale["lambda"])

    model = Routes()
    compress(model, torch.randn(3, 6), method="l2", target="channels=0.5").into(model)
    assert model.routes["in"].weight.shape == (8, 6)
    assert model.scale["lambda"].shape == (8,)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_may_use_names_of_the_graph(kind: str) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.graph, self.head = Named("graph", kind), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.graph(x)
            return self.head(x if float(x.sum()) > 0 else -x)

    result = compress(Whole(), torch.randn(3, 6), method="l2", target="channels=0.5")
    weight = "graph.graph.weight" if kind == "module" else "graph.graph"
    assert result.model.state_dict()[weight].shape == (8, 6)


def test_names_that_an_exported_module_has_are_known() -> None:
    program = torch.export.export(Named("first", "module"), (torch.randn(3, 6),))
    module = program.module()
    own = {"first", "last"}
    for name in {*dir(module), *dir(fx.GraphModule({}, fx.Graph()))} - set(dir(nn.Module())) - own:
        assert graph_name(f"{name}.weight") != f"{name}.weight"
        assert model_name(graph_name(f"{name}.weight")) == f"{name}.weight"
    assert graph_name("a.is.b") == "a.is_of_model.b"
    assert model_name("a.is_of_model.b") == "a.is.b"
    for name in ("weight", "layers.0.graph", "encoder.code.weight"):
        assert graph_name(name) == model_name(name) == name
