"""Generative: networks that make pictures, and those that judge them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.zoos.pictures import pictures


class ResnetBlock(nn.Module):
    """Scale and shift from the time embedding, as in lucidrains/denoising-diffusion-pytorch."""

    def __init__(self, dim: int, dim_out: int, time_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, dim_out * 2))
        self.norm1, self.norm2 = nn.GroupNorm(8, dim), nn.GroupNorm(8, dim_out)
        self.conv1 = nn.Conv2d(dim, dim_out, 3, padding=1)
        self.conv2 = nn.Conv2d(dim_out, dim_out, 3, padding=1)
        self.res_conv = nn.Conv2d(dim, dim_out, 1) if dim != dim_out else nn.Identity()

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.mlp(t)[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(h) * (scale + 1) + shift
        return self.conv2(F.silu(h)) + self.res_conv(x)


class LinearAttention(nn.Module):
    def __init__(self, dim: int, heads: int = 2, dim_head: int = 16) -> None:
        super().__init__()
        self.scale, self.heads = dim_head**-0.5, heads
        self.to_qkv = nn.Conv2d(dim, dim_head * heads * 3, 1, bias=False)
        self.to_out = nn.Conv2d(dim_head * heads, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.shape
        q, k, v = (t.reshape(b, self.heads, -1, h * w) for t in self.to_qkv(x).chunk(3, dim=1))
        q, k = q.softmax(dim=-2) * self.scale, k.softmax(dim=-1)
        context = torch.einsum("b h d n, b h e n -> b h d e", k, v)
        out = torch.einsum("b h d e, b h d n -> b h e n", context, q)
        return x + self.to_out(out.reshape(b, -1, h, w))


class DiffusionUNet(nn.Module):
    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.dim, t = dim, dim * 4
        self.time_mlp = nn.Sequential(nn.Linear(dim, t), nn.GELU(), nn.Linear(t, t))
        self.init_conv = nn.Conv2d(3, dim, 7, padding=3)
        self.down1, self.attn = ResnetBlock(dim, dim, t), LinearAttention(dim)
        self.downsample = nn.Conv2d(dim, 2 * dim, 4, 2, 1)
        self.mid, self.up1 = ResnetBlock(2 * dim, 2 * dim, t), ResnetBlock(3 * dim, dim, t)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.final = nn.Sequential(nn.GroupNorm(8, dim), nn.SiLU(), nn.Conv2d(dim, 3, 3, padding=1))

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        half = self.dim // 2
        freqs = torch.exp(torch.arange(half, device=x.device) * -(math.log(10000) / (half - 1)))
        angles = time[:, None] * freqs[None, :]
        t = self.time_mlp(torch.cat((angles.sin(), angles.cos()), dim=-1))
        x = self.init_conv(x)
        skip = self.attn(self.down1(x, t))
        x = self.mid(self.downsample(skip), t)
        return self.final(self.up1(torch.cat((self.upsample(x), skip), dim=1), t))


class ModulatedConv2d(nn.Module):
    """The weight is made for each example, examples are groups: rosinality/stylegan2-pytorch."""

    def __init__(self, cin: int, cout: int, k: int, style: int, demodulate: bool = True) -> None:
        super().__init__()
        self.k, self.cin, self.cout, self.demodulate = k, cin, cout, demodulate
        self.scale = 1 / math.sqrt(cin * k**2)
        self.weight = nn.Parameter(torch.randn(1, cout, cin, k, k))
        self.modulation = nn.Linear(style, cin)
        self.noise = nn.Parameter(torch.ones(1) * 0.1)
        self.register_buffer("noise_map", torch.randn(1, 1, 8, 8))

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        batch, cin, height, width = x.shape
        style = self.modulation(style).view(batch, 1, cin, 1, 1)
        weight = self.scale * self.weight * style
        if self.demodulate:
            demod = torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8)
            weight = weight * demod.view(batch, self.cout, 1, 1, 1)
        weight = weight.view(batch * self.cout, cin, self.k, self.k)
        x = x.view(1, batch * cin, height, width)
        out = F.conv2d(x, weight, padding=self.k // 2, groups=batch)
        out = out.view(batch, self.cout, out.shape[2], out.shape[3])
        return out + self.noise * F.interpolate(self.noise_map, size=out.shape[2:])


class StyleGenerator(nn.Module):
    """Mapping, a constant input, modulated convolutions, and pictures summed over sizes."""

    def __init__(self, style: int = 48, c: int = 32) -> None:
        super().__init__()
        self.mapping = nn.Sequential(
            nn.Linear(style, style), nn.LeakyReLU(0.2), nn.Linear(style, style), nn.LeakyReLU(0.2)
        )
        self.input = nn.Parameter(torch.randn(1, c, 4, 4))
        self.conv1, self.conv2 = ModulatedConv2d(c, c, 3, style), ModulatedConv2d(c, c, 3, style)
        self.bias1, self.bias2 = (nn.Parameter(torch.randn(c)) for _ in range(2))
        self.to_rgb1 = ModulatedConv2d(c, 3, 1, style, demodulate=False)
        self.to_rgb2 = ModulatedConv2d(c, 3, 1, style, demodulate=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        z = z * torch.rsqrt(torch.mean(z**2, dim=1, keepdim=True) + 1e-8)
        w = self.mapping(z)
        out = self.input.repeat(w.shape[0], 1, 1, 1)
        out = F.leaky_relu(self.conv1(out, w) + self.bias1.view(1, -1, 1, 1), 0.2) * 2**0.5
        skip = self.to_rgb1(out, w)
        out = F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)
        out = F.leaky_relu(self.conv2(out, w) + self.bias2.view(1, -1, 1, 1), 0.2) * 2**0.5
        return self.to_rgb2(out, w) + F.interpolate(skip, scale_factor=2)


class VAE(nn.Module):
    """AntixK/PyTorch-VAE; in eval the mean is decoded."""

    def __init__(self, latent: int = 24) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.LeakyReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.LeakyReLU(),
        )  # fmt: skip
        self.fc_mu, self.fc_var = nn.Linear(64 * 16, latent), nn.Linear(64 * 16, latent)
        self.decoder_input = nn.Linear(latent, 64 * 16)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 3, 2, 1, output_padding=1), nn.BatchNorm2d(32),
            nn.LeakyReLU(), nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.Conv2d(16, 3, 3, 1, 1),
        )  # fmt: skip

    def reparameterize(self, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return mu
        return torch.randn_like(mu) * torch.exp(0.5 * logvar) + mu

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        result = torch.flatten(self.encoder(x), start_dim=1)
        mu, log_var = self.fc_mu(result), self.fc_var(result)
        z = self.decoder_input(self.reparameterize(mu, log_var)).view(-1, 64, 4, 4)
        kl = -0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1)
        return [torch.tanh(self.decoder(z)), x, kl]


class Glow(nn.Module):
    """Squeeze, a fixed permutation, an invertible 1x1 convolution, affine coupling."""

    def __init__(self, c: int = 12, hidden: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.register_buffer("perm", torch.randperm(c))
        self.loc = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.mix = nn.Parameter(torch.linalg.qr(torch.randn(c, c))[0])
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c // 2, hidden, 3, padding=1), nn.ReLU(inplace=True),
                nn.Conv2d(hidden, hidden, 1), nn.ReLU(inplace=True),
                nn.Conv2d(hidden, c, 3, padding=1),
            )
            for _ in range(depth)
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, c, h, w = x.shape
        x = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
        x = x.contiguous().view(b, c * 4, h // 2, w // 2)
        logdet = x.new_zeros(b) + torch.slogdet(self.mix)[1] * (h // 2) * (w // 2)
        for i, net in enumerate(self.nets):
            x = F.conv2d(x + self.loc, self.mix[:, :, None, None])
            x = x[:, self.perm] if i % 2 else x.flip(1)
            xa, xb = x.chunk(2, 1)
            log_s, t = net(xa).chunk(2, 1)
            s = torch.sigmoid(log_s + 2)
            x = torch.cat([xa, (xb + t) * s], 1)
            logdet = logdet + torch.sum(torch.log(s).view(b, -1), 1)
        return x, logdet


class Discriminator(nn.Module):
    """Spectral norms, and the deviation over the batch as one more channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(3, 32, 4, 2, 1))
        self.conv2 = nn.utils.spectral_norm(nn.Conv2d(32, 64, 4, 2, 1))
        self.final = nn.Conv2d(65, 64, 3, padding=1)
        self.linear = nn.Sequential(nn.Linear(64 * 16, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2)
        batch, channel, height, width = out.shape
        stddev = out.view(-1, batch, 1, channel, height, width)
        stddev = torch.sqrt(stddev.var(0, unbiased=False) + 1e-8)
        stddev = stddev.mean([2, 3, 4], keepdim=True).squeeze(2).view(batch, 1, 1, 1)
        out = torch.cat([out, stddev.repeat(1, 1, height, width)], 1)
        return self.linear(F.leaky_relu(self.final(out), 0.2).view(batch, -1))


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "diffusion_unet_film": lambda: (
        DiffusionUNet(),
        (pictures(2, 3, 16, 16), torch.tensor([3.0, 70.0])),
    ),
    "stylegan_modulated": lambda: (StyleGenerator(), torch.randn(2, 48)),
    "vae_reparametrised": lambda: (VAE(), pictures(2, 3, 16, 16)),
    "glow_coupling": lambda: (Glow(), pictures(2, 3, 8, 8)),
    "discriminator_spectral_norm": lambda: (Discriminator(), pictures(2, 3, 16, 16)),
}
