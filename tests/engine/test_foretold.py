"""Results foretold during a capture are those that torch's shape functions give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from graphprune.capturing.foretold import ForetellResults

aten = torch.ops.aten


class TwoSizes(nn.Module):
    """The same calls on two images of unlike size, so that the second can be foretold."""

    def __init__(self, call: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.call = call
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.call(self.norm(x)), self.call(self.norm(F.avg_pool2d(x, 2)))


CALLS: dict[str, Callable[[torch.Tensor], Any]] = {
    "relu": torch.relu,
    "relu in place": torch.relu_,
    "hardswish in place": lambda x: F.hardswish(x, inplace=True),
    "relu6 in place": lambda x: F.relu6(x, inplace=True),
    "clamp": lambda x: x.clamp(0, 1),
    "comparison, which gives truth values": lambda x: (x > 0, x >= 0.0),
    "isnan": torch.isnan,
    "number of another kind": lambda x: x * 2 + 1.5,
    "residual": lambda x: x + torch.sigmoid(x),
    "residual in place": lambda x: torch.sigmoid(x).add_(x),
    "squeeze and excite": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "gate first": lambda x: x.mean((2, 3), keepdim=True) * x,
    "fewer dimensions": lambda x: x + torch.ones(4, 1, 1),
    "other dtype": lambda x: x + x.double(),
    "half": lambda x: F.silu(x.half()),
    "integers": lambda x: x.long().abs() + 1,
    "integers become floats": lambda x: x.long().sigmoid(),
    "channels last": lambda x: torch.relu(x.to(memory_format=torch.channels_last)),
    "transposed": lambda x: torch.relu(x.transpose(2, 3)) + x,
    "expanded": lambda x: torch.tanh(x[:, :1].expand(-1, 4, -1, -1)),
    "part written to": lambda x: x[:, :2].mul_(2.0),
    "batch of one": lambda x: x[:1] + x,
    "complex": lambda x: torch.exp(x.to(torch.complex64)) * 2j,
    "rounded division": lambda x: torch.div(x, 2, rounding_mode="floor"),
    "number without dimensions": lambda x: x * torch.tensor(2.0),
}


def signature(graph: torch.fx.Graph) -> list[Any]:
    """Operator and look of every tensor that the calls of a graph give."""
    found = []
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and isinstance(value, torch.Tensor):
            look = (list(map(str, value.shape)), list(map(str, value.stride())), value.dtype)
            found.append((str(node.target), *look, value.device, value.requires_grad))
    return found


def export(model: nn.Module, x: torch.Tensor) -> torch.fx.Graph:
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    with torch.no_grad():
        return torch.export.export(model, (x,), dynamic_shapes=shapes, strict=False).graph


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_the_shape_functions(name: str) -> None:
    model = TwoSizes(CALLS[name]).eval()
    x = torch.randn(2, 4, 6, 6)
    expected = signature(export(model, x))
    with ForetellResults():
        actual = signature(export(model, x))
    assert len(expected) > 4
    assert actual == expected


class Recorder(TorchDispatchMode):
    """Notes the calls that reach the shape functions."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def test_shape_functions_run_once_for_each_kind_of_call() -> None:
    with FakeTensorMode(), torch.no_grad(), Recorder() as below, ForetellResults():
        for size in (4, 6, 8):
            x = torch.ones(2, 3, size)
            torch.sigmoid(x)
            torch.sigmoid(x.double())
            aten._native_batch_norm_legit_no_training(x, *[x.new_empty(3)] * 4, 0.1, 1e-5)
            x.relu_()
    assert below.seen.count(aten.sigmoid.default) == 2
    assert below.seen.count(aten._native_batch_norm_legit_no_training.default) == 1
    assert below.seen.count(aten.relu_.default) == 0


def test_what_does_not_fit_is_refused_as_ever() -> None:
    with FakeTensorMode(), torch.no_grad(), ForetellResults():
        x = torch.ones(2, 3, 4)
        assert (x + x).shape == x.shape
        with pytest.raises(RuntimeError):
            x + torch.ones(2, 3, 5)
        with pytest.raises(RuntimeError):
            x.add_(torch.ones(2, 3, 5))
        for channels in (3, 4):
            stats = [x.new_empty(channels)] * 4
            if channels == 3:
                aten._native_batch_norm_legit_no_training(x, *stats, 0.1, 1e-5)
                continue
            with pytest.raises(RuntimeError):
                aten._native_batch_norm_legit_no_training(x, *stats, 0.1, 1e-5)


def test_a_known_value_that_is_written_to_is_forgotten_or_followed() -> None:
    """What fake tensors know of constants must not outlive a write."""
    with FakeTensorMode(), ForetellResults():
        value = torch.tensor(2.0)
        value.mul_(3.0)
        try:
            found: float | None = value.item()
        except Exception:  # noqa: BLE001 - not known any more: right as well
            found = None
    assert found in (None, 6.0)
