"""What a user has beside a model: factories, losses, data and passes, copied into a work folder.

Imported there under the name ``userland``, as ``--model userland:make`` asks.
"""

from __future__ import annotations

import os
import signal
from typing import Any, ClassVar

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.infra.pass_base import PassBase, PassResult
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 4
SIDE = 8


class Small(nn.Module):
    """(N, 1, 8, 8) float32 -> (N, 4); two convolutions with batch norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        return self.head(torch.relu(self.conv2(x)).mean((2, 3)))


class Pair(nn.Module):
    """Two inputs, tokens (N, 5) int64 and weights (N, 5) float32; returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 6)
        self.hidden = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        features = torch.tanh(self.hidden((self.table(tokens) * weights[..., None]).mean(1)))
        return {"logits": self.head(features), "features_mean": features.mean(1)}


class Choosing(nn.Module):
    """Its control flow depends on the data, so that torch.export can capture its parts alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Small(), nn.Linear(CLASSES, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        return self.head(x if float(x.detach().sum()) > 0 else -x)


class OnlyHead(nn.Module):
    """Nothing in it can be pruned: the one layer's output is the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


class OneBatch(nn.Module):
    """Takes batches of exactly 4."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(SIDE * SIDE, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.hidden(x.reshape(4, SIDE * SIDE))))


class Text(nn.Module):
    """Token ids (N, T), by name as in transformers, which suggest a length of three."""

    main_input_name = "input_ids"
    dummy_inputs: ClassVar = {"input_ids": torch.tensor([[1, 2, 3], [3, 2, 1]])}

    def __init__(self) -> None:
        super().__init__()
        self.table, self.hidden, self.head = nn.Embedding(10, 6), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        x = torch.tanh(self.hidden(self.table(input_ids)))
        if attention_mask is not None:
            x = x * attention_mask[..., None]
        return self.head(x.mean(1))


def make_text() -> nn.Module:
    torch.manual_seed(3)
    return Text().eval()


def texts() -> list[Any]:
    """Batches by name, of seven tokens each."""
    torch.manual_seed(5)
    ids, mask = torch.randint(0, 10, (4, 8, 7)), torch.ones(4, 8, 7, dtype=torch.int64)
    return [{"input_ids": a, "attention_mask": b} for a, b in zip(ids, mask, strict=True)]


def make() -> nn.Module:
    torch.manual_seed(3)
    return Small().eval()


def make_pair() -> nn.Module:
    torch.manual_seed(3)
    return Pair().eval()


def make_only_head() -> nn.Module:
    return OnlyHead()


def make_one_batch() -> nn.Module:
    torch.manual_seed(3)
    return OneBatch().eval()


def make_nan() -> nn.Module:
    model = make()
    with torch.no_grad():
        model.get_parameter("conv2.weight")[0, 0, 0, 0] = float("nan")
    return model


def arrays(examples: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x (N, 1, 8, 8) float32 and y (N,) int64; the class can be learned from the brightness."""
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, examples)
    x = random.standard_normal((examples, 1, SIDE, SIDE)) + 2.0 * y[:, None, None, None]
    return x.astype(np.float32), y.astype(np.int64)


def loader() -> DataLoader[Any]:
    x, y = arrays()
    return DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=20)


def not_data() -> int:
    return 7


def no_batches() -> list[Any]:
    return []


def pairs() -> list[Any]:
    torch.manual_seed(5)
    return [((torch.randint(0, 10, (8, 5)), torch.rand(8, 5)), None) for _ in range(4)]


def squared(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A loss of the user's own."""
    return (output - nn.functional.one_hot(target, CLASSES)).square().mean()


def nan_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return output.sum() * float("nan")


def raising_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("the loss is broken\non two lines")


def vector_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return output.mean(1)


def constant_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.tensor(1.0)


def interrupting_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Stands for a user who presses Ctrl-C while the switches learn."""
    os.kill(os.getpid(), signal.SIGINT)
    return squared(output, target)


class DoubleHead(PassBase):
    """A user's pass, written for torch.fx: doubles the bias of the last layer."""

    def call(self, graph_module: fx.GraphModule) -> PassResult:
        with torch.no_grad():
            graph_module.get_parameter("head.bias").mul_(2)
        return PassResult(graph_module, True)


class Failing(PassBase):
    def call(self, graph_module: fx.GraphModule) -> PassResult:
        raise RuntimeError("this pass never works")
