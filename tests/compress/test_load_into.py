"""``graphprune.load(folder, into=model)``: a folder put into an instance of the user's class."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from into_checks import assert_attributes_fit, assert_same_state, count, state
from torch import nn
from torch.nn import functional as F

from graphprune import CompressConfig, Compressed, FinetuneConfig, compress, load
from graphprune.errors import ModelError, UsageError


class Residual(nn.Module):
    """(N, 3, 8, 8) -> (N, 4): batch norms, a residual sum, a head of its own size."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.inner, self.outer = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norms[0](self.stem(x)))
        x = x + self.outer(F.relu(self.norms[1](self.inner(x))))
        return self.head(x.mean((2, 3)))


class Halved(Residual):
    """The same tensors, other values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 2


class HardCoded(Residual):
    """The same graph, with a size in its code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norms[0](self.stem(x)))
        x = x + self.outer(F.relu(self.norms[1](self.inner(x))))
        return self.head(x.mean((2, 3)).view(-1, 16))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.1)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(6, 16), encoder, nn.Linear(16, 3))


def saved(model: nn.Module, example: torch.Tensor, folder: Path, **options: Any) -> Compressed:
    result = compress(model, example, method="l2", target="channels=0.5", **options)
    result.save(folder, onnx=False, latency=False)
    return result


def assert_same_outputs(own: nn.Module, result: Compressed, like: torch.Tensor) -> None:
    assert count(own) == count(result.model)
    fresh = torch.randn(5, *like.shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(own(fresh), result.model(fresh), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Compressed, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("residual") / "out"
    return saved(Residual(), torch.randn(2, 3, 8, 8), folder), folder


def test_a_residual_network_and_training_on(residual: Any) -> None:
    result, folder = residual
    own = Residual()
    assert load(folder, into=own) is own
    assert not own.training
    assert_same_outputs(own, result, torch.randn(2, 3, 8, 8))
    assert_attributes_fit(own)
    assert own.inner.out_channels == 8
    known = result.model.state_dict()
    assert all(torch.equal(known[n], t) for n, t in own.state_dict().items() if n in known)
    before = own.head.weight.detach().clone()
    optimiser = torch.optim.SGD(own.train().parameters(), lr=0.1)
    F.cross_entropy(own(torch.randn(8, 3, 8, 8)), torch.arange(8) % 4).backward()
    optimiser.step()
    assert not torch.equal(before, own.head.weight)


def test_fine_tuned_weights_are_those_of_the_folder(tmp_path: Path) -> None:
    data = (torch.randn(64, 3, 8, 8), torch.randint(0, 4, (64,)))
    config = CompressConfig(finetune=FinetuneConfig(lr=0.05), batch_size=16, evaluate=False)
    model = Residual()
    result = saved(
        model, data[0][:2], tmp_path / "out", data=data, finetune_epochs=1, config=config
    )
    untrained = compress(model, data[0][:2], method="l2", target="channels=0.5").model
    own = load(tmp_path / "out", into=Residual())
    assert_same_outputs(own, result, data[0])
    assert torch.equal(own.norms[1].running_var, result.model.get_buffer("norms.1.running_var"))
    assert not torch.equal(own.inner.weight, untrained.get_parameter("inner.weight"))


def test_a_transformer_that_lost_whole_heads(tmp_path: Path) -> None:
    example = torch.randn(2, 7, 6)
    config = CompressConfig(heads="whole")
    result = saved(transformer(), example, tmp_path / "out", config=config)
    own = load(tmp_path / "out", into=transformer())
    assert_same_outputs(own, result, example)
    assert own[1].layers[0].self_attn.num_heads == 2  # type: ignore[union-attr]


def test_a_program_exported_from_the_class(tmp_path: Path) -> None:
    model, example = Residual().eval(), torch.randn(2, 3, 8, 8)
    free = ({0: torch.export.Dim("batch", min=1)},)
    program: Any = torch.export.export(model, (example,), dynamic_shapes=free)
    result = saved(program, example, tmp_path / "out")
    assert_same_outputs(load(tmp_path / "out", into=Residual()), result, example)


def test_compressed_twice_goes_into_what_was_loaded_first(residual: Any, tmp_path: Path) -> None:
    _, folder = residual
    own = load(folder, into=Residual())
    example = torch.randn(2, 3, 8, 8)
    result = saved(copy.deepcopy(own), example, tmp_path / "out")
    assert_same_outputs(load(tmp_path / "out", into=own), result, example)


def _wrong() -> dict[str, tuple[nn.Module, str]]:
    lacking, more = Residual(), Residual()
    del lacking.norms[1]
    more.more = nn.Linear(3, 3)
    more.forward = lambda x: Residual.forward(more, x + more.more(x.mT).mT.mean())  # type: ignore[method-assign]
    return {
        "wider": (Residual(24), r"stem\.weight has 24 channels to remove, but had 16"),
        "narrower": (Residual(8), r"stem\.weight of Residual is \(8, 3, 3, 3\)"),
        "another": (nn.Sequential(nn.Linear(3, 3)), r"Sequential has no stem\.weight"),
        "lacking": (lacking, r"Residual has no norms\.1\.weight"),
        "other values": (Halved(), "Halved is not what .* was compressed from"),
        "hard-coded": (HardCoded(), r"HardCoded.*view\(-1, 16\)"),
        "double": (Residual().double(), r"float64, which cannot"),
        "does not run": (copy.deepcopy(more), "Residual is not what .* was compressed from"),
    }


@pytest.mark.parametrize("name", _wrong())
def test_a_wrong_instance_is_refused_in_one_line_and_unchanged(name: str, residual: Any) -> None:
    model, message = _wrong()[name]
    before = state(model.train())
    with pytest.raises(UsageError, match=message) as caught:
        load(residual[1], into=model)
    assert "\n" not in str(caught.value)
    assert model.training
    assert_same_state(before, state(model))


def test_one_that_is_small_already_is_refused(residual: Any) -> None:
    own = load(residual[1], into=Residual())
    before = state(own)
    with pytest.raises(UsageError, match="as it was before"):
        load(residual[1], into=own)
    assert_same_state(before, state(own))


def test_a_plan_of_another_run_is_refused(residual: Any, tmp_path: Path) -> None:
    result, folder = residual
    other = compress(Residual(), torch.randn(2, 3, 8, 8), method="l2", target="channels=0.25")
    (tmp_path / "model.pt2").write_bytes((folder / "model.pt2").read_bytes())
    other.plan.save(tmp_path / "plan.json")
    with pytest.raises(UsageError, match=r"plan\.json leaves stem\.weight as \(4, 3, 3, 3\), but"):
        load(tmp_path, into=Residual())
    result.plan.save(tmp_path / "plan.json")
    load(tmp_path, into=Residual())


def test_what_is_no_folder_or_no_module_is_refused(residual: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model\.pt2"):
        load(tmp_path, into=Residual())
    with pytest.raises(UsageError, match="into is a type; give an instance"):
        load(residual[1], into=Residual)  # type: ignore[call-overload]
