"""Ways of writing a forward: slices assigned, modules shared, dispatched, checkpointed, looped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from benchmarks.zoos.pictures import pictures


class SliceAssigned(nn.Module):
    """Parts of a tensor computed apart and written back (TSM, partial convolution of FasterNet)."""

    def __init__(self, c: int = 48) -> None:
        super().__init__()
        self.stem, self.part = nn.Conv2d(3, c, 3, 2, 1), nn.Conv2d(c // 4, c // 4, 3, 1, 1)
        self.pw1, self.pw2 = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, c, 1)
        self.last, self.fold = nn.Linear(c, 10), c // 8

    def shift(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(x)
        out[:, : self.fold, :, 1:] = x[:, : self.fold, :, :-1]
        out[:, self.fold : 2 * self.fold, :, :-1] = x[:, self.fold : 2 * self.fold, :, 1:]
        out[:, 2 * self.fold :] = x[:, 2 * self.fold :]
        return out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = x.clone()
        k = x.shape[1] // 4
        y[:, :k, :, :] = self.part(y[:, :k, :, :])
        x = x + self.pw2(F.relu(self.pw1(y)))
        return self.last(self.shift(x).mean((2, 3)))


class UnfoldFold(nn.Module):
    """Local attention by unfold, and patches put back by fold (T2T, MobileViT)."""

    def __init__(self, c: int = 32) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, c, 3, 1, 1), nn.Conv2d(c, c, 3, 1, 1)
        self.score = nn.Conv2d(c, 9, 1)
        self.soft = nn.Linear(c * 9, 64)
        self.back = nn.Linear(64, c * 4)
        self.out = nn.Conv2d(c, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        b, c, h, w = x.shape
        patches = F.unfold(x, 3, padding=1).view(b, c, 9, h, w)
        x = (patches * self.score(x).softmax(1).unsqueeze(1)).sum(2)
        tokens = F.unfold(self.conv2(x), kernel_size=3, stride=2, padding=1).transpose(1, 2)
        tokens = self.back(F.gelu(self.soft(tokens)))
        x = F.fold(tokens.transpose(1, 2), output_size=(h, w), kernel_size=2, stride=2) + x
        return self.out(x)


class Prediction(NamedTuple):
    """What a network answers."""

    logits: torch.Tensor
    features: list[torch.Tensor]
    extra: dict[str, torch.Tensor]


class Dispatched(nn.Module):
    """Modules by name, shared, checkpointed, left early; a tuple with names, lists and dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.acts = nn.ModuleDict(
            {"lrelu": nn.LeakyReLU(), "prelu": nn.PReLU(), "id": nn.Identity()}
        )
        self.stem, self.shared = nn.Conv2d(3, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(32) for _ in range(2))
        self.stages = nn.ModuleList(nn.Conv2d(32, 32, 3, 1, 1, groups=4) for _ in range(3))
        self.exits = nn.ModuleList(nn.Linear(32, 4) for _ in range(3))
        self.mid = nn.Conv2d(32, 64, 1)
        self.head = nn.Linear(64, 4)
        self.dropout, self.pool = nn.Dropout2d(0.2), nn.AdaptiveAvgPool2d((2, 1))

    def block(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norms[0](self.shared(x)))

    def forward(self, x: torch.Tensor, mode: str = "prelu") -> Prediction:
        x = self.acts[mode](self.stem(x))
        x = x + checkpoint(self.block, x, use_reentrant=False)
        x = x + F.relu(self.norms[1](self.shared(x)))
        outs = []
        for i, (stage, leave) in enumerate(zip(self.stages, self.exits, strict=True)):
            x = torch.where(x > 0, stage(x), x.new_tensor(0.1) * x)
            outs.append(leave(x.mean((2, 3))))
            if i == len(self.stages) - 1:
                break
        x = self.pool(self.dropout(F.relu(self.mid(x)))).flatten(2).sum(-1)
        logits = self.head(x)
        return Prediction(logits, outs, {"best": logits.argmax(1), "entropy": logits.std(1)})


class Symmetric(nn.Module):
    def forward(self, w: torch.Tensor) -> torch.Tensor:
        return w.triu() + w.triu(1).transpose(-1, -2)


class UnitNorm(nn.Module):
    def forward(self, w: torch.Tensor) -> torch.Tensor:
        return w / w.flatten(1).norm(dim=1).view(-1, *[1] * (w.ndim - 1))


class Parametrised(nn.Module):
    """Weights under parametrisations: standardised, orthogonal, of length one, symmetric."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, 1, 1), nn.Conv2d(32, 48, 3, 1, 1)
        self.conv3 = nn.Conv2d(48, 48, 3, 1, 1, groups=4, bias=False)
        parametrize.register_parametrization(self.conv2, "weight", UnitNorm())
        self.fc1, self.fc2 = nn.Linear(48, 64), nn.Linear(64, 10)
        nn.utils.parametrizations.weight_norm(self.fc1)
        self.sym = nn.Linear(10, 10)
        parametrize.register_parametrization(self.sym, "weight", Symmetric())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.elu(self.conv2(F.relu6(self.conv1(x))))
        w = self.conv3.weight
        mean, std = w.mean((1, 2, 3), keepdim=True), w.std((1, 2, 3), keepdim=True)
        x = F.conv2d(x, (w - mean) / (std + 1e-5), None, 1, 1, groups=4)
        return self.sym(self.fc2(F.selu(self.fc1(x.mean((-2, -1))))))


class Buffered(nn.Module):
    """Buffers written in forward, batch norm as a function, channels last, statistics by hand."""

    def __init__(self, c: int = 32) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(c) + 0.5), nn.Parameter(torch.randn(c))
        self.register_buffer("running_mean", torch.zeros(c))
        self.register_buffer("running_var", torch.ones(c))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("ema", torch.zeros(c))
        self.conv1, self.conv2 = nn.Conv2d(3, c, 3, 1, 1), nn.Conv2d(c, 64, 3, 2, 1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.conv1(x.contiguous(memory_format=torch.channels_last))
        self.ema.mul_(0.9).add_(0.1 * x.detach().mean((0, 2, 3)))
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                         self.training, 0.1, 1e-5)  # fmt: skip
        x = F.hardswish(x - self.ema.view(1, -1, 1, 1))
        u = x.mean(1, keepdim=True)
        x = (x - u) / torch.sqrt((x - u).pow(2).mean(1, keepdim=True) + 1e-6)
        return self.fc(F.relu(self.conv2(x)).amax(dim=(-1, -2)))


class FourierLayer(nn.Module):
    """neuraloperator: complex weights on the lowest modes, through rfft2 and einsum."""

    def __init__(self, cin: int, cout: int, modes: int = 4) -> None:
        super().__init__()
        self.modes, self.cout = modes, cout
        shape = (cin, cout, modes, modes)
        self.weights = nn.Parameter(torch.randn(*shape, dtype=torch.cfloat) / cin)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.shape
        x_ft = torch.fft.rfft2(x)
        out = torch.zeros(b, self.cout, h, w // 2 + 1, dtype=torch.cfloat, device=x.device)
        m = self.modes
        out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", x_ft[:, :, :m, :m], self.weights)
        return torch.fft.irfft2(out, s=(h, w))


class FourierOperator(nn.Module):
    def __init__(self, c: int = 24) -> None:
        super().__init__()
        self.fc0, self.fc1, self.fc2 = nn.Linear(3, c), nn.Linear(c, 64), nn.Linear(64, 1)
        self.spectral = nn.ModuleList(FourierLayer(c, c) for _ in range(2))
        self.w = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fc0(x).permute(0, 3, 1, 2)
        for conv, w in zip(self.spectral, self.w, strict=True):
            x = F.gelu(conv(x) + w(x))
        return self.fc2(F.gelu(self.fc1(x.permute(0, 2, 3, 1))))


def _image(batch: int = 2) -> torch.Tensor:
    return pictures(batch, 3, 16, 16)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "slices_assigned": lambda: (SliceAssigned(), _image()),
    "unfold_fold": lambda: (UnfoldFold(), _image()),
    "dispatched_named_tuple": lambda: (Dispatched(), _image()),
    "parametrised": lambda: (Parametrised(), _image()),
    "buffers_written": lambda: (Buffered(), _image()),
    "fourier_operator": lambda: (FourierOperator(), _image().permute(0, 2, 3, 1)),
}
