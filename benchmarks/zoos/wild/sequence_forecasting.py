"""Time series: causal convolutions, backcasts, patches, gated variable selection."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Chomp1d(nn.Module):
    """Cuts the right padding off."""

    def __init__(self, chomp_size: int) -> None:
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    """TCN: two weight-normalised dilated convolutions and a residual path."""

    def __init__(self, n_in: int, n_out: int, dilation: int, kernel: int = 3) -> None:
        super().__init__()
        padding = (kernel - 1) * dilation
        layers: list[nn.Module] = []
        for channels in (n_in, n_out):
            conv = nn.Conv1d(channels, n_out, kernel, padding=padding, dilation=dilation)
            layers += [weight_norm(conv), Chomp1d(padding), nn.ReLU(), nn.Dropout(0.2)]
        self.net = nn.Sequential(*layers)
        self.downsample = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        res = x if self.downsample is None else self.downsample(x)
        return F.relu(self.net(x) + res)


class TCN(nn.Module):
    """Temporal convolutional network on the last step."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (4, 24, 32, 32)
        blocks = [TemporalBlock(a, b, 2**i) for i, (a, b) in enumerate(itertools.pairwise(sizes))]
        self.network = nn.Sequential(*blocks)
        self.linear = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.network(x)[:, :, -1])


class NBeats(nn.Module):
    """Blocks that each forecast, and subtract from the input what they explain."""

    def __init__(self, back: int = 20, fore: int = 5, units: int = 48) -> None:
        super().__init__()
        self.stacks = nn.ModuleList()
        for theta in (4, 8, 8):
            layers = [nn.Linear(back, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU()]
            fc = nn.Sequential(*layers, nn.Linear(units, units), nn.ReLU())
            parts = {"fc": fc, "b_theta": nn.Linear(units, theta), "b": nn.Linear(theta, back)}
            parts |= {"f_theta": nn.Linear(units, theta), "f": nn.Linear(theta, fore)}
            self.stacks.append(nn.ModuleDict(parts))
        self.fore = fore

    def forward(self, backcast: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        backcast = backcast.squeeze(-1)
        forecast = torch.zeros(backcast.size(0), self.fore)
        for block in self.stacks:
            h = block["fc"](backcast)
            backcast = backcast - block["b"](F.relu(block["b_theta"](h)))
            forecast = forecast + block["f"](F.relu(block["f_theta"](h)))
        return backcast, forecast


class PatchTST(nn.Module):
    """Channel-independent patches by unfold, instance normalisation in and out."""

    def __init__(self, length: int = 32, patch: int = 8, stride: int = 4, dim: int = 48) -> None:
        super().__init__()
        self.patch, self.stride = patch, stride
        self.W_P = nn.Linear(patch, dim)
        count = (length - patch) // stride + 2
        self.W_pos = nn.Parameter(torch.rand(count, dim) * 0.04 - 0.02)
        layer = nn.TransformerEncoderLayer(dim, 4, 96, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim * count, 6)
        self.affine_weight = nn.Parameter(torch.ones(3))
        self.affine_bias = nn.Parameter(torch.zeros(3))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        mean = z.mean(dim=1, keepdim=True).detach()
        std = torch.sqrt(z.var(dim=1, keepdim=True, unbiased=False) + 1e-5).detach()
        z = (z - mean) / std * self.affine_weight + self.affine_bias
        z = F.pad(z.permute(0, 2, 1), (0, self.stride), mode="replicate")
        z = z.unfold(dimension=-1, size=self.patch, step=self.stride)
        x = self.W_P(z)
        u = x.reshape(x.shape[0] * x.shape[1], x.shape[2], x.shape[3]) + self.W_pos
        y = self.encoder(u).reshape(-1, z.shape[1], x.shape[2] * x.shape[3])
        y = self.head(y).permute(0, 2, 1)
        return (y - self.affine_bias) / self.affine_weight * std + mean


class VariableSelection(nn.Module):
    """Temporal fusion transformer: a network for each variable, weighted by a softmax, an LSTM."""

    def __init__(self, variables: int = 4, dim: int = 32) -> None:
        super().__init__()
        self.singles = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(1, dim), nn.ELU(), nn.Linear(dim, dim))
                for _ in range(variables)
            ]
        )
        self.flat = nn.Sequential(nn.Linear(variables * dim, dim), nn.ELU())
        self.weights = nn.Linear(dim, variables)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.gate, self.norm = nn.Linear(dim, 2 * dim), nn.LayerNorm(dim)
        self.quantiles = nn.Linear(dim, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [single(x[..., i : i + 1]) for i, single in enumerate(self.singles)]
        weights = torch.softmax(self.weights(self.flat(torch.cat(parts, dim=-1))), dim=-1)
        chosen = (torch.stack(parts, dim=-1) * weights.unsqueeze(-2)).sum(dim=-1)
        out, _ = self.lstm(chosen)
        return self.quantiles(self.norm(chosen + F.glu(self.gate(out), dim=-1)))


class TiedAutoencoder(nn.Module):
    """The decoder uses the encoder's matrices, transposed, and the biases are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2 = nn.Linear(30, 48), nn.Linear(48, 16)
        self.bias1, self.bias2 = nn.Parameter(torch.zeros(48)), nn.Parameter(torch.zeros(30))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = torch.relu(self.enc2(torch.relu(self.enc1(x))))
        hidden = torch.relu(F.linear(code, self.enc2.weight.t(), self.bias1))
        return F.linear(hidden, self.enc1.weight.t(), self.bias2)


class PointerNetwork(nn.Module):
    """An LSTM encoder; a decoder cell that points back at its inputs, masked step by step."""

    def __init__(self, dim: int = 40, steps: int = 3) -> None:
        super().__init__()
        self.embedding, self.steps = nn.Linear(2, dim), steps
        self.encoder, self.decoder = nn.LSTM(dim, dim, batch_first=True), nn.LSTMCell(dim, dim)
        self.W1, self.W2, self.V = (
            nn.Linear(dim, dim, bias=False),
            nn.Linear(dim, dim, bias=False),
            nn.Linear(dim, 1, bias=False),
        )
        self.start = nn.Parameter(torch.randn(dim))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        embedded = self.embedding(points)
        context, (h, c) = self.encoder(embedded)
        h, c = h[-1], c[-1]
        step_in = self.start.unsqueeze(0).expand(points.size(0), -1)
        mask = torch.zeros(points.shape[:2], dtype=torch.bool)
        outputs = []
        for _ in range(self.steps):
            h, c = self.decoder(step_in, (h, c))
            scores = self.V(torch.tanh(self.W1(context) + self.W2(h).unsqueeze(1))).squeeze(-1)
            scores = scores.masked_fill(mask, float("-inf"))
            chosen = scores.argmax(-1)
            mask = mask | F.one_hot(chosen, points.shape[1]).bool()
            index = chosen.view(-1, 1, 1).expand(-1, 1, embedded.shape[-1])
            step_in = embedded.gather(1, index).squeeze(1)
            outputs.append(scores.softmax(-1))
        return torch.stack(outputs, dim=1)


class DeepSets(nn.Module):
    """phi of every element, sum, mean and maximum over the set, rho."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 40), nn.ReLU())
        self.rho = nn.Sequential(nn.Linear(120, 48), nn.ReLU(), nn.Linear(48, 4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        h = self.phi(x) * mask.unsqueeze(-1)
        count = mask.sum(1, keepdim=True)
        return self.rho(torch.cat([h.sum(1), h.sum(1) / count, h.max(dim=1)[0]], dim=-1))


def _sets() -> tuple[nn.Module, Any]:
    mask = torch.ones(2, 7)
    mask[0, 5:] = 0
    return DeepSets().eval(), (torch.randn(2, 7, 6), mask)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "tcn": lambda: (TCN().eval(), torch.randn(2, 4, 24)),
    "nbeats": lambda: (NBeats().eval(), torch.randn(2, 20, 1)),
    "patchtst": lambda: (PatchTST().eval(), torch.randn(2, 32, 3)),
    "variable_selection": lambda: (VariableSelection().eval(), torch.randn(2, 9, 4)),
    "tied_autoencoder": lambda: (TiedAutoencoder().eval(), torch.randn(3, 30)),
    "pointer_network": lambda: (PointerNetwork().eval(), torch.rand(2, 6, 2)),
    "deep_sets": _sets,
}
