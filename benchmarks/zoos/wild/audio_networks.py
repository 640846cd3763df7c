"""Audio networks: waveform models, front ends inside the model, speech encoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import weight_norm


class WaveNet(nn.Module):
    """Gated dilated causal convolutions with residual and skip paths; skips are summed."""

    def __init__(self, residual: int = 32, skip: int = 48, layers: int = 5) -> None:
        super().__init__()
        self.causal = nn.Conv1d(16, residual, 2, padding=1)
        self.filters, self.gates, self.residuals, self.skips = (nn.ModuleList() for _ in range(4))
        for i in range(layers):
            self.filters.append(nn.Conv1d(residual, residual, 2, dilation=2**i))
            self.gates.append(nn.Conv1d(residual, residual, 2, dilation=2**i))
            self.residuals.append(nn.Conv1d(residual, residual, 1))
            self.skips.append(nn.Conv1d(residual, skip, 1))
        self.end_conv_1, self.end_conv_2 = nn.Conv1d(skip, 64, 1), nn.Conv1d(64, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.causal(x)[:, :, :-1]
        skip: Any = 0
        for f, g, r, s in zip(self.filters, self.gates, self.residuals, self.skips, strict=True):
            z = torch.tanh(f(x)) * torch.sigmoid(g(x))
            out = s(z)
            skip = out + (skip[:, :, -out.size(2) :] if torch.is_tensor(skip) else skip)
            x = r(z) + x[:, :, -z.size(2) :]
        return self.end_conv_2(F.relu(self.end_conv_1(F.relu(skip))))


class ChannelNorm(nn.Module):
    """Conv-TasNet's global layer norm, written out, over channels and time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        mean = y.mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
        var = (torch.pow(y - mean, 2)).mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
        return self.gamma * (y - mean) / torch.pow(var + 1e-8, 0.5) + self.beta


class ConvTasNet(nn.Module):
    """Learned encoder, temporal blocks that estimate masks, learned decoder."""

    def __init__(self, n: int = 32, b: int = 24, h: int = 48, speakers: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, n, 16, stride=8, bias=False)
        self.bottleneck = nn.Sequential(ChannelNorm(n), nn.Conv1d(n, b, 1, bias=False))
        blocks = []
        for d in (1, 2):
            depthwise = nn.Conv1d(h, h, 3, padding=d, dilation=d, groups=h, bias=False)
            blocks.append(
                nn.Sequential(
                    *(nn.Conv1d(b, h, 1, bias=False), nn.PReLU(), ChannelNorm(h)),
                    *(depthwise, nn.PReLU(), ChannelNorm(h), nn.Conv1d(h, b, 1, bias=False)),
                )
            )
        self.blocks = nn.ModuleList(blocks)
        self.mask_conv = nn.Conv1d(b, speakers * n, 1, bias=False)
        self.basis_signals = nn.ConvTranspose1d(n, 1, 16, stride=8, bias=False)
        self.speakers, self.n = speakers, n

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        w = F.relu(self.encoder(mixture.unsqueeze(1)))
        score = self.bottleneck(w)
        for block in self.blocks:
            score = score + block(score)
        score = self.mask_conv(score).view(mixture.shape[0], self.speakers, self.n, -1)
        masked = w.unsqueeze(1) * F.relu(score)
        flat = masked.view(mixture.shape[0] * self.speakers, self.n, -1)
        return self.basis_signals(flat).view(mixture.shape[0], self.speakers, -1)


class Demucs(nn.Module):
    """Encoder and decoder of convolutions with GLU, an LSTM between, skips that are added."""

    def __init__(self, channels: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        inputs = 1
        for index in range(depth):
            encode = [nn.Conv1d(inputs, channels, 8, 4), nn.ReLU()]
            encode += [nn.Conv1d(channels, 2 * channels, 1), nn.GLU(1)]
            self.encoder.append(nn.Sequential(*encode))
            decode = [nn.Conv1d(channels, 2 * channels, 1), nn.GLU(1)]
            decode += [nn.ConvTranspose1d(channels, inputs, 8, 4)]
            decode += [nn.ReLU()] if index > 0 else []
            self.decoder.insert(0, nn.Sequential(*decode))
            inputs, channels = channels, 2 * channels
        self.lstm = nn.LSTM(inputs, inputs, 2, bidirectional=True)
        self.lstm_linear = nn.Linear(2 * inputs, inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        std = x.std(dim=-1, keepdim=True)
        x = x / (1e-3 + std)
        skips = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        x = self.lstm_linear(self.lstm(x.permute(2, 0, 1))[0]).permute(1, 2, 0)
        for decode in self.decoder:
            skip = skips.pop(-1)
            x = decode(x + skip[..., : x.shape[-1]])
        return std * x


class SincConv(nn.Module):
    """SincNet: band-pass filters computed from learned edges."""

    def __init__(self, out_channels: int = 16, kernel_size: int = 33) -> None:
        super().__init__()
        self.low_hz_ = nn.Parameter(torch.linspace(30, 3000, out_channels).view(-1, 1))
        self.band_hz_ = nn.Parameter(torch.linspace(100, 300, out_channels).view(-1, 1))
        half = torch.linspace(0, kernel_size / 2 - 1, kernel_size // 2)
        self.register_buffer("window_", 0.54 - 0.46 * torch.cos(6.2832 * half / kernel_size))
        n = (kernel_size - 1) / 2.0
        self.register_buffer("n_", 6.2832 * torch.arange(-n, 0).view(1, -1) / 8000)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        low = 50 + torch.abs(self.low_hz_)
        high = torch.clamp(low + 50 + torch.abs(self.band_hz_), 50, 4000)
        band = (high - low)[:, 0]
        f_low, f_high = torch.matmul(low, self.n_), torch.matmul(high, self.n_)
        left = ((torch.sin(f_high) - torch.sin(f_low)) / (self.n_ / 2)) * self.window_
        centre = 2 * band.view(-1, 1)
        band_pass = torch.cat([left, centre, torch.flip(left, dims=[1])], dim=1)
        band_pass = band_pass / (2 * band[:, None])
        return F.conv1d(waveforms, band_pass.view(band_pass.shape[0], 1, -1))


class SincNet(nn.Module):
    """Filters, then plain convolutions with layer norm over channels and time."""

    def __init__(self) -> None:
        super().__init__()
        self.sinc = SincConv()
        self.conv1, self.conv2 = nn.Conv1d(16, 24, 5), nn.Conv1d(24, 24, 5)
        self.norm = nn.BatchNorm1d(16)
        self.fc = nn.Sequential(nn.Linear(24 * 7, 64), nn.LeakyReLU(0.2), nn.Linear(64, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.norm(F.max_pool1d(torch.abs(self.sinc(x)), 3)))
        x = F.leaky_relu(F.max_pool1d(self.conv1(x), 3))
        x = F.leaky_relu(F.max_pool1d(self.conv2(x), 3))
        return self.fc(x.view(x.shape[0], -1))


class XVector(nn.Module):
    """TDNN layers made of unfold and linear, statistics pooling."""

    def __init__(self, dim: int = 48) -> None:
        super().__init__()
        self.contexts = ((5, 1), (3, 2), (1, 1))
        sizes = (20, dim, dim, 2 * dim)
        self.kernels = nn.ModuleList(
            [nn.Linear(a * k, b) for a, b, (k, _) in zip(sizes, sizes[1:], self.contexts)]  # noqa: B905
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(b) for b in sizes[1:]])
        self.segment6, self.segment7 = nn.Linear(4 * dim, dim), nn.Linear(dim, dim)
        self.output = nn.Linear(dim, 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kernel, norm, (k, d) in zip(self.kernels, self.norms, self.contexts, strict=True):
            x = x.unsqueeze(1)
            x = F.unfold(x, (k, x.shape[-1]), dilation=(d, 1)).transpose(1, 2)
            x = norm(F.relu(kernel(x)).transpose(1, 2)).transpose(1, 2)
        stats = torch.cat((x.mean(1), x.std(1)), dim=1)
        return self.output(F.relu(self.segment7(F.relu(self.segment6(stats)))))


class QuartzNet(nn.Module):
    """Separable one-dimensional convolutions with residuals, a CTC head with masks of lengths."""

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        self.stem = nn.Conv1d(20, channels, 11, stride=2, padding=5)
        self.blocks = nn.ModuleList()
        for kernel in (9, 13):
            layers: list[nn.Module] = []
            for _ in range(2):
                padding = kernel // 2
                depthwise = nn.Conv1d(channels, channels, kernel, padding=padding, groups=channels)
                layers += [depthwise, nn.Conv1d(channels, channels, 1, bias=False)]
                layers += [nn.BatchNorm1d(channels, eps=1e-3), nn.ReLU()]
            residual = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels))
            self.blocks.append(nn.ModuleDict({"mconv": nn.Sequential(*layers), "res": residual}))
        self.decoder = nn.Conv1d(channels, 29, 1)

    def forward(self, x: torch.Tensor, lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(x)
        lens = (lens + 2 * 5 - 11) // 2 + 1
        mask = torch.arange(x.size(2), device=x.device).expand(x.size(0), -1) >= lens.unsqueeze(1)
        for block in self.blocks:
            x = x.masked_fill(mask.unsqueeze(1), 0)
            x = F.relu(block["mconv"](x) + block["res"](x))
        return F.log_softmax(self.decoder(x).transpose(1, 2), dim=-1), lens


class Generator(nn.Module):
    """HiFi-GAN: upsampling by transposed convolutions, the mean over a list of residual blocks."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv_pre = weight_norm(nn.Conv1d(20, width, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for i, rate in enumerate((4, 2)):
            ch = width // 2 ** (i + 1)
            up = nn.ConvTranspose1d(2 * ch, ch, 2 * rate, rate, padding=rate // 2)
            self.ups.append(weight_norm(up))
            for kernel in (3, 7):
                convs = [
                    weight_norm(nn.Conv1d(ch, ch, kernel, dilation=d, padding=kernel // 2 * d))
                    for d in (1, 3)
                ]
                self.resblocks.append(nn.ModuleList(convs))
        self.conv_post = weight_norm(nn.Conv1d(ch, 1, 7, padding=3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_pre(x)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            xs = None
            for convs in self.resblocks[2 * i : 2 * i + 2]:
                y = x
                for conv in convs:
                    y = conv(F.leaky_relu(y, 0.1)) + y
                xs = y if xs is None else xs + y
            x = xs / 2
        return torch.tanh(self.conv_post(F.leaky_relu(x)))


def _case(model: Callable[[], nn.Module], *inputs: Any) -> Callable[[], tuple[nn.Module, Any]]:
    return lambda: (model().eval(), inputs)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "wavenet": _case(WaveNet, torch.randn(2, 16, 64)),
    "conv_tasnet": _case(ConvTasNet, torch.randn(2, 136)),
    "demucs": _case(Demucs, torch.randn(2, 1, 340)),
    "sincnet": _case(SincNet, torch.randn(2, 1, 272)),
    "xvector": _case(XVector, torch.randn(2, 24, 20)),
    "quartznet": _case(QuartzNet, torch.randn(2, 20, 40), torch.tensor([40, 31])),
    "hifigan": _case(Generator, torch.randn(2, 20, 12)),
}
