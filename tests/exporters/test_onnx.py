"""ONNX export: the file is valid, well named and quiet, and computes what PyTorch does."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import pytest
import small_models
import torch
from torch import nn

from graphprune.capturing.capture import Captured, capture
from graphprune.errors import ModelError
from graphprune.exporters.onnx import OnnxExporter, export_onnx
from graphprune.graph.trees import tensor_leaves
from graphprune.proof.compare import max_relative_error
from graphprune.proof.fresh_inputs import fresh_inputs
from graphprune.proof.onnxrun import OnnxModel

_NAMES = {
    "traits": (["image", "scale"], ["output_0", "output_1"], "batch"),
    "tokens": (["ids"], ["logits", "best", "anchors"], "batch"),
    "fixed_batch": (["x"], ["output"], 4),
}


def test_file_is_valid_and_named_after_the_model(exported: tuple[str, Captured, Path]) -> None:
    name, _, folder = exported
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    inputs, outputs, batch = _NAMES[name]
    assert [item.name for item in model.graph.input] == inputs
    assert [item.name for item in model.graph.output] == outputs
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert (first.dim_param or first.dim_value) == batch
    assert not (folder / "model.onnx.data").exists()


def test_computes_what_pytorch_does(exported: tuple[str, Captured, Path]) -> None:
    name, captured, folder = exported
    model = OnnxModel(folder / "model.onnx")
    for size in (None,) if name == "fixed_batch" else (1, 2, 5):
        args, kwargs = fresh_inputs(captured, seed=9, size=size)
        with torch.no_grad():
            expected = tensor_leaves(captured.module(*args, **kwargs))
        assert max_relative_error(model((args, kwargs)), expected) < 1e-5


def test_says_nothing_and_keeps_the_mode(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    captured = small_models.traits()
    captured.module.train()
    written = OnnxExporter().export(captured, tmp_path)
    assert written == (tmp_path / "model.onnx",)
    assert captured.module.training
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    batch_norm = [n for n in captured.module.graph.nodes if "batch_norm" in n.name]
    assert batch_norm[0].args[5] is True


def test_an_export_in_training_mode_is_the_evaluation_graph(tmp_path: Path) -> None:
    captured = small_models.traits()
    args, kwargs = captured.args, captured.kwargs
    with torch.no_grad():
        expected = tensor_leaves(captured.module(*args, **kwargs))
    captured.module.train()
    export_onnx(captured, tmp_path / "model.onnx")
    assert max_relative_error(OnnxModel(tmp_path / "model.onnx")((args, kwargs)), expected) < 1e-5


def test_an_untranslatable_operator_is_one_clear_line(tmp_path: Path) -> None:
    class Gamma(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.zeta(x.exp() + 2, x.exp())

    captured = capture(Gamma(), torch.randn(2, 3))
    with pytest.raises(ModelError, match=r"cannot be written as ONNX.*zeta") as caught:
        export_onnx(captured, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


class Halves(nn.Module):
    """Two inputs through one layer as one batch, which is then parted again."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        first, second = self.layer(torch.cat([x, y])).chunk(2)
        return first * second


def test_a_split_of_the_free_dimension(tmp_path: Path) -> None:
    captured = capture(Halves(), (torch.randn(2, 3), torch.randn(2, 3)))
    assert captured.dynamic_batch
    export_onnx(captured, tmp_path / "model.onnx")
    for size in (2, 5):
        inputs = (torch.randn(size, 3), torch.randn(size, 3))
        expected = [captured.module(*inputs)]
        actual = OnnxModel(tmp_path / "model.onnx")((inputs, {}))
        assert max_relative_error(actual, expected) < 1e-5


class _Options(nn.Module):
    """Inputs that are no tensors, in front of those that are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(
        self, mask: torch.Tensor | None, scale: int, mode: str, x: torch.Tensor
    ) -> torch.Tensor:
        x = x if mask is None else x * mask
        return self.layer(x) * scale if mode == "scaled" else self.layer(x)


def test_inputs_that_are_no_tensors(tmp_path: Path) -> None:
    """None, numbers and words are part of the graph; the file's inputs are the tensors."""
    captured = capture(_Options().eval(), (None, 2, "scaled", torch.randn(2, 4)))
    export_onnx(captured, tmp_path / "model.onnx")
    model = OnnxModel(tmp_path / "model.onnx")
    assert model.input_names == ["x"]
    inputs = fresh_inputs(captured, 0)
    assert max_relative_error(model(inputs), [captured.module(*inputs[0])]) < 1e-5


def test_outputs_that_are_no_tensors(tmp_path: Path) -> None:
    """A file gives tensors alone; torch.onnx fails on numbers among the outputs."""

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> dict[str, object]:
            return {"length": x.shape[1], "scores": self.layer(x), "rows": x.shape[0], "more": None}

    captured = capture(Counted().eval(), torch.randn(2, 4))
    export_onnx(captured, tmp_path / "model.onnx")
    x = torch.randn(5, 4)
    answer = captured.module(x)
    assert (answer["length"], answer["rows"]) == (4, 5)
    model = OnnxModel(tmp_path / "model.onnx")
    assert max_relative_error(model(((x,), {})), [answer["scores"]]) < 1e-5
    assert [item.name for item in onnx.load(model.path).graph.output] == ["scores"]
