"""Small models that torch.export cannot capture whole, each with a trap of its own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def block(inner: int = 16, size: int = 6) -> nn.Sequential:
    """Two linear layers with channels between them that may go."""
    return nn.Sequential(nn.Linear(size, inner), nn.ReLU(), nn.Linear(inner, size))


class Branches(nn.Module):
    """Takes another way depending on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = block(), block(), block()
        self.out = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        if float(h.sum()) > float(x.mean()) - 1e6:
            return self.out(self.left(h))
        return self.out(self.right(h))


class TokenNet(nn.Module):
    """Token logits, shape (batch, length, 20)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8)
        self.head = nn.Linear(8, 20)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.embed(tokens)
        h = h + self.down(torch.relu(self.up(h))).cumsum(1)
        out: torch.Tensor = self.head(h)
        return out


class Generator(nn.Module):
    """Appends the likeliest token until one stops it, or five have come."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TokenNet()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        for _ in range(5):
            logits = self.net(tokens)
            new = logits[:, -1].argmax(-1, keepdim=True)
            tokens = torch.cat([tokens, new], 1)
            if bool((new == 19).all()):
                break
        return tokens


class Pyramid(nn.Module):
    """Calls one convolutional part at two sizes, which its data decide on."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 3, 3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not bool(torch.isfinite(x).all()):
            raise ValueError("not finite")
        return self.part(x), self.part(F.avg_pool2d(x, 2))


class Reader(nn.Module):
    """Reads a weight of a part past the part, and shares another between two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.first, self.second = block(), block(), block()
        self.second[0].weight = self.first[0].weight
        self.free = block()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.free(self.second(self.first(self.read(x))))
        if bool((h > 1e9).any()):
            return h
        return h + F.linear(x, self.read[0].weight).sum(1, keepdim=True)


class HardCoded(nn.Module):
    """A part that writes down one of its sizes."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls, self.part, self.other = calls, _Fixed(), block()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.other(self.part(x))
        if self.calls > 1:
            y = y + self.part(x.repeat(1, 2, 1)).mean(1, keepdim=True)
        if bool((y > 1e9).any()):
            return y * 0
        out: torch.Tensor = y
        return out


class _Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.a(x).reshape(x.shape[0], x.shape[1], 16)
        out: torch.Tensor = self.b(torch.relu(hidden))
        return out


class Cached(nn.Module):
    """Keeps a tensor from its first call; the attempt to capture it must not leave a fake one."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.cache = block(), dict[str, Any]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "scale" not in self.cache:
            self.cache["scale"] = torch.full((6,), 2.0)
        h = self.part(x) * self.cache["scale"]
        return h if bool((h > -1e9).all()) else x


class Stubborn(nn.Module):
    """Nothing of it can be captured."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = _Refuses()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(x)
        return out


class _Refuses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.sum()) > 0:
            return x @ self.weight
        return x
