"""Models that are refused, and files that cannot be written: one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from graphprune import compress
from graphprune.errors import CertificateError, DataError, ModelError, UsageError


def _network(middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), middle, nn.Flatten(), nn.Linear(8 * 16, 2))


PICTURE = torch.randn(2, 3, 6, 6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("whole", [True, False])
def test_torchscript(whole: bool) -> None:
    made = _network(nn.ReLU() if whole else torch.jit.script(nn.ReLU()))
    model = torch.jit.script(made) if whole else made
    place = "the model" if whole else "submodule '1'"
    with pytest.raises(UsageError, match=f"{place} is TorchScript.*nn.Module it was made from"):
        compress(model, PICTURE)


def test_lazy_layers_that_have_not_run() -> None:
    with pytest.raises(UsageError, match=r"submodule '1' is lazy.*call the model once"):
        compress(_network(nn.LazyBatchNorm2d()), PICTURE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_layers() -> None:
    model = torch.ao.quantization.quantize_dynamic(_network(nn.ReLU()), {nn.Linear})
    with pytest.raises(UsageError, match=r"packed weights.*before it is quantised"):
        compress(model, PICTURE)


class Graph(nn.Module):
    """(nodes, 8) -> (nodes, 4) over an adjacency, its own or a given one."""

    def __init__(self, adjacency: torch.Tensor | None) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 32), nn.Linear(32, 4)
        self.register_buffer("adjacency", adjacency)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor | None = None) -> torch.Tensor:
        adjacency = self.adjacency if adjacency is None else adjacency
        return torch.mm(adjacency, self.outer(torch.relu(torch.mm(adjacency, self.inner(x)))))


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_tensors(layout: torch.layout) -> None:
    nodes = torch.randn(6, 8)
    dense = (torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) > 0.4).float()
    sparse = dense.to_sparse(layout=layout)
    with pytest.raises(UsageError, match=r"the model has sparse tensors.*to_dense"):
        compress(Graph(sparse).eval(), nodes, method="l2", target="channels=0.5")
    with pytest.raises(DataError, match=r"input 1 is a sparse tensor.*give a dense one"):
        compress(Graph(None).eval(), (nodes, sparse), method="l2", target="channels=0.5")
    assert compress(
        Graph(dense).eval(), nodes, method="l2", target="channels=0.5"
    ).certificate.passed


def test_tensors_of_inference_mode() -> None:
    with torch.inference_mode():
        model = _network(nn.ReLU())
    with pytest.raises(UsageError, match=r"submodule '0' has tensors made in inference mode"):
        compress(model, PICTURE)


def test_a_module_of_torch_export_is_taken_but_not_cut_in_place() -> None:
    model = nn.Sequential(_network(nn.Dropout()).train(), nn.ReLU())
    program = torch.export.export(model, (PICTURE,))  # in training mode
    exported = program.module()
    result = compress(exported, PICTURE, method="l2", target="channels=0.5")
    assert result.model.get_parameter("0.0.weight").shape[0] == 4
    assert torch.equal(result.model(PICTURE), result.model(PICTURE))  # nothing is dropped
    with pytest.raises(UsageError, match=r"graph of torch\.export.*result\.model"):
        result.into(exported)


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = _network(nn.ReLU())

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        return {"task": "digits", "scores": self.net(x)}


def test_a_string_among_the_outputs_cannot_be_saved(tmp_path: Path) -> None:
    result = compress(_Named(), PICTURE)
    assert result.model(PICTURE)["task"] == "digits"
    with pytest.raises(ModelError, match="returns the string 'digits'"):
        result.save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_double_precision_that_onnxruntime_has_no_operator_for(tmp_path: Path) -> None:
    result = compress(_network(nn.ReLU()).double(), PICTURE.double())
    with pytest.raises(CertificateError, match=r"model\.float\(\).*or leave ONNX out"):
        result.save(tmp_path / "out")
    assert result.save(tmp_path / "out", onnx=False).is_dir()
