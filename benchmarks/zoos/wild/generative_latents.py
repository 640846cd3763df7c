"""Generative: codes, mixtures, cells and autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.zoos.pictures import pictures


class VQVAE(nn.Module):
    """Nearest codes by distance, looked up with a one-hot product: zalandoresearch's tutorial."""

    def __init__(self, codes: int = 32, width: int = 24, lookup: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(True), nn.Conv2d(32, 48, 3, 1, 1), nn.ReLU(True)
        )
        self.pre_vq = nn.Conv2d(48, width, 1)
        self.codebook, self.lookup = nn.Embedding(codes, width), lookup
        self.decoder = nn.Sequential(
            nn.Conv2d(width, 48, 3, 1, 1), nn.ReLU(True), nn.ConvTranspose2d(48, 3, 4, 2, 1)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.pre_vq(self.encoder(x)).permute(0, 2, 3, 1).contiguous()
        flat = z.view(-1, z.shape[-1])
        if self.lookup:
            indices = torch.cdist(flat, self.codebook.weight).argmin(dim=-1)
            quantized = self.codebook(indices).view(z.shape)
        else:
            distances = (
                torch.sum(flat**2, dim=1, keepdim=True)
                + torch.sum(self.codebook.weight**2, dim=1)
                - 2 * torch.matmul(flat, self.codebook.weight.t())
            )
            indices = torch.argmin(distances, dim=1)
            onehot = torch.zeros(indices.shape[0], self.codebook.num_embeddings)
            onehot.scatter_(1, indices.unsqueeze(1), 1)
            quantized = torch.matmul(onehot, self.codebook.weight).view(z.shape)
        quantized = z + (quantized - z).detach()
        return self.decoder(quantized.permute(0, 3, 1, 2).contiguous()), indices


class MixtureDensity(nn.Module):
    """Weights, means and deviations of Gaussians, and their likelihood."""

    def __init__(self, hidden: int = 64, mixtures: int = 5, out: int = 2) -> None:
        super().__init__()
        self.k, self.out = mixtures, out
        self.body = nn.Sequential(nn.Linear(6, hidden), nn.Tanh(), nn.Linear(hidden, hidden))
        self.pi, self.mu = nn.Linear(hidden, mixtures), nn.Linear(hidden, mixtures * out)
        self.sigma = nn.Linear(hidden, mixtures * out)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        h = torch.tanh(self.body(x))
        pi = F.gumbel_softmax(self.pi(h)) if self.training else F.softmax(self.pi(h), -1)
        mu = self.mu(h).reshape(-1, self.k, self.out)
        sigma = F.elu(self.sigma(h)).reshape(-1, self.k, self.out) + 1 + 1e-5
        normal = torch.distributions.Normal(mu, sigma, validate_args=False)
        log_p = normal.log_prob(y.unsqueeze(1).expand_as(mu)).sum(-1)
        return {"nll": -torch.logsumexp(torch.log(pi + 1e-8) + log_p, dim=1), "mu": mu, "pi": pi}


class CellularAutomaton(nn.Module):
    """Growing neural cellular automata: fixed filters for each channel, a loop, living cells."""

    def __init__(self, channels: int = 16, hidden: int = 64, steps: int = 4) -> None:
        super().__init__()
        self.channels, self.steps = channels, steps
        sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        still = torch.zeros(3, 3)
        still[1, 1] = 1
        filters = torch.stack([still, sobel, sobel.t()])
        self.register_buffer("kernel", filters.repeat(channels, 1, 1).unsqueeze(1))
        self.fc0 = nn.Conv2d(channels * 3, hidden, 1)
        self.fc1 = nn.Conv2d(hidden, channels, 1, bias=False)

    def alive(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x[:, 3:4, :, :], kernel_size=3, stride=1, padding=1) > 0.1

    def forward(self, rgba: torch.Tensor) -> torch.Tensor:
        x = torch.zeros(rgba.shape[0], self.channels, *rgba.shape[2:])
        x[:, :4] = rgba
        for _ in range(self.steps):
            before = self.alive(x)
            y = F.conv2d(x, self.kernel, padding=1, groups=self.channels)
            x = x + self.fc1(F.relu(self.fc0(y)))
            x = x * (before & self.alive(x)).float()
        return x[:, :4]


class TiedAutoencoder(nn.Module):
    """The decoder is the transposed encoder."""

    def __init__(self, sizes: tuple[int, ...] = (64, 96, 32)) -> None:
        super().__init__()
        pairs = list(pairwise(sizes))
        self.w = nn.ParameterList(nn.Parameter(torch.randn(b, a) / a**0.5) for a, b in pairs)
        self.b = nn.ParameterList(nn.Parameter(torch.randn(b) * 0.1) for _, b in pairs)
        self.b_out = nn.ParameterList(nn.Parameter(torch.randn(a) * 0.1) for a, _ in pairs)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.flatten(1)
        for w, b in zip(self.w, self.b, strict=True):
            x = torch.sigmoid(F.linear(x, w, b))
        code = x
        for w, b in zip(reversed(self.w), reversed(self.b_out), strict=True):
            x = F.linear(x, w.t(), b)
        return x, code.mean(1)


class RealNVP(nn.Module):
    """Masked couplings over vectors; the mask is a buffer, alternately flipped."""

    def __init__(self, dim: int = 6, hidden: int = 64) -> None:
        super().__init__()
        mask = (torch.arange(dim) % 2).float()
        self.register_buffer("mask", torch.stack([mask, 1 - mask] * 2))
        self.s = nn.ModuleList(self.net(dim, hidden) for _ in range(4))
        self.t = nn.ModuleList(self.net(dim, hidden) for _ in range(4))

    @staticmethod
    def net(dim: int, hidden: int) -> nn.Module:
        layers = [nn.Linear(dim, hidden), nn.LeakyReLU(), nn.Linear(hidden, hidden)]
        return nn.Sequential(*layers, nn.LeakyReLU(), nn.Linear(hidden, dim), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        log_det, z = x.new_zeros(x.shape[0]), x
        for i in reversed(range(len(self.t))):
            z_ = self.mask[i] * z
            s, t = self.s[i](z_) * (1 - self.mask[i]), self.t[i](z_) * (1 - self.mask[i])
            z = (1 - self.mask[i]) * (z - t) * torch.exp(-s) + z_
            log_det -= s.sum(dim=1)
        return -0.5 * (z**2).sum(1) + log_det


class DCGenerator(nn.Module):
    """A label embedding times the noise, then transposed convolutions, normalised by class."""

    def __init__(self, nz: int = 32, classes: int = 4) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(classes, nz)
        self.l1 = nn.Linear(nz, 64 * 4 * 4)
        self.deconv1 = nn.ConvTranspose2d(64, 48, 4, 2, 1, bias=False)
        self.deconv2 = nn.ConvTranspose2d(48, 24, 4, 2, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(64), nn.BatchNorm2d(48, affine=False)
        self.gain = nn.Embedding(classes, 96)
        self.out = nn.Conv2d(24, 3, 3, 1, 1)

    def forward(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = self.l1(torch.mul(self.label_emb(labels), noise))
        x = F.relu(self.bn1(x.view(x.shape[0], 64, 4, 4)))
        x = self.bn2(self.deconv1(x))
        gamma, beta = self.gain(labels).chunk(2, 1)
        x = gamma.view(-1, 48, 1, 1) * x + beta.view(-1, 48, 1, 1)
        return torch.tanh(self.out(F.leaky_relu(self.deconv2(F.relu(x)), 0.2)))


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "vqvae_one_hot": lambda: (VQVAE(), pictures(2, 3, 16, 16)),
    "vqvae_cdist": lambda: (VQVAE(lookup=True), pictures(2, 3, 16, 16)),
    "mixture_density": lambda: (MixtureDensity(), (torch.randn(4, 6), torch.randn(4, 2))),
    "cellular_automaton": lambda: (CellularAutomaton(), pictures(2, 4, 12, 12)),
    "autoencoder_tied": lambda: (TiedAutoencoder(), torch.randn(3, 1, 8, 8)),
    "realnvp_masks": lambda: (RealNVP(), torch.randn(4, 6)),
    "dcgan_class_conditional": lambda: (
        DCGenerator(),
        (torch.randn(2, 32), torch.tensor([0, 3])),
    ),
}
