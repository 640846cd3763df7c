"""Speech encoders and networks with their spectrogram inside; volumes and video."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class SpectrogramCNN(nn.Module):
    """torch.stft, a mel filter bank, log, and a small CNN with a GRU on top (keyword spotting)."""

    def __init__(self, n_fft: int = 64, n_mels: int = 20) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft))
        self.register_buffer("mel", torch.rand(n_mels, n_fft // 2 + 1))
        self.cnn = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        )
        self.gru = nn.GRU(32 * (n_mels // 2), 40, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(80, 12)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        spec = torch.stft(wave, self.n_fft, 16, window=self.window, return_complex=True)
        mel = torch.log(torch.matmul(self.mel, spec.abs().pow(2)) + 1e-6)
        mel = (mel - mel.mean(dim=(1, 2), keepdim=True)) / mel.std(dim=(1, 2), keepdim=True)
        x = self.cnn(mel.unsqueeze(1))
        b, c, f, t = x.size()
        x = x.view(b, c * f, t).permute(0, 2, 1)
        return self.fc(self.gru(x)[0].max(dim=1)[0])


class MaskNet(nn.Module):
    """Speech enhancement: stft, a mask from an LSTM on the magnitude, istft."""

    def __init__(self, n_fft: int = 64) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft))
        self.lstm = nn.LSTM(n_fft // 2 + 1, 48, 2, batch_first=True)
        self.mask = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, n_fft // 2 + 1))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        spec = torch.stft(wave, self.n_fft, 16, window=self.window, return_complex=True)
        magnitude, phase = spec.abs(), torch.angle(spec)
        mask = torch.sigmoid(self.mask(self.lstm(magnitude.transpose(1, 2))[0])).transpose(1, 2)
        enhanced = torch.polar(magnitude * mask, phase)
        return torch.istft(enhanced, self.n_fft, 16, window=self.window, length=wave.shape[-1])


class RelPositionAttention(nn.Module):
    """Conformer's attention (ESPnet): position bias u and v for each head, relative shift."""

    def __init__(self, n_feat: int, n_head: int) -> None:
        super().__init__()
        self.h, self.d_k = n_head, n_feat // n_head
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (
            nn.Linear(n_feat, n_feat) for _ in range(4)
        )
        self.linear_pos = nn.Linear(n_feat, n_feat, bias=False)
        self.pos_bias_u = nn.Parameter(torch.randn(n_head, self.d_k) * 0.1)
        self.pos_bias_v = nn.Parameter(torch.randn(n_head, self.d_k) * 0.1)

    def rel_shift(self, x: torch.Tensor) -> torch.Tensor:
        zero_pad = torch.zeros((*x.size()[:3], 1), device=x.device, dtype=x.dtype)
        x_padded = torch.cat([zero_pad, x], dim=-1)
        x_padded = x_padded.view(*x.size()[:2], x.size(3) + 1, x.size(2))
        return x_padded[:, :, 1:].view_as(x)[:, :, :, : x.size(-1) // 2 + 1]

    def forward(self, x: torch.Tensor, pos_emb: torch.Tensor) -> torch.Tensor:
        b = x.size(0)
        q = self.linear_q(x).view(b, -1, self.h, self.d_k)
        k = self.linear_k(x).view(b, -1, self.h, self.d_k).transpose(1, 2)
        v = self.linear_v(x).view(b, -1, self.h, self.d_k).transpose(1, 2)
        p = self.linear_pos(pos_emb).view(pos_emb.size(0), -1, self.h, self.d_k).transpose(1, 2)
        ac = torch.matmul((q + self.pos_bias_u).transpose(1, 2), k.transpose(-2, -1))
        bd = torch.matmul((q + self.pos_bias_v).transpose(1, 2), p.transpose(-2, -1))
        scores = (ac + self.rel_shift(bd)) / math.sqrt(self.d_k)
        out = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.linear_out(out.transpose(1, 2).contiguous().view(b, -1, self.h * self.d_k))


class ConformerBlock(nn.Module):
    """Half feed-forward, attention, convolution module, half feed-forward."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ff1, self.ff2 = (
            nn.Sequential(
                nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim)
            )
            for _ in range(2)
        )
        self.attn, self.norm_attn = RelPositionAttention(dim, 4), nn.LayerNorm(dim)
        self.norm_conv, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.pointwise1 = nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.bn, self.pointwise2 = nn.BatchNorm1d(dim), nn.Conv1d(dim, dim, 1)

    def forward(self, x: torch.Tensor, pos_emb: torch.Tensor) -> torch.Tensor:
        x = x + 0.5 * self.ff1(x)
        x = x + self.attn(self.norm_attn(x), pos_emb)
        y = F.glu(self.pointwise1(self.norm_conv(x).transpose(1, 2)), dim=1)
        y = self.pointwise2(F.silu(self.bn(self.depthwise(y))))
        x = x + y.transpose(1, 2)
        return self.norm_out(x + 0.5 * self.ff2(x))


class Conformer(nn.Module):
    """Convolutional subsampling, relative positions from a buffer, blocks, CTC head."""

    def __init__(self, dim: int = 48, features: int = 20) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, dim, 3, 2), nn.ReLU(), nn.Conv2d(dim, dim, 3, 2), nn.ReLU()
        )
        self.out = nn.Linear(dim * (((features - 1) // 2 - 1) // 2), dim)
        self.blocks = nn.ModuleList([ConformerBlock(dim) for _ in range(2)])
        self.register_buffer("pe", torch.randn(1, 199, dim))
        self.ctc = nn.Linear(dim, 30)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x.unsqueeze(1))
        b, c, t, f = x.size()
        x = self.out(x.transpose(1, 2).contiguous().view(b, t, c * f))
        middle = self.pe.size(1) // 2
        pos_emb = self.pe[:, middle - t + 1 : middle + t]
        for block in self.blocks:
            x = block(x, pos_emb)
        return self.ctc(x).log_softmax(dim=-1)


class Conv2Plus1D(nn.Module):
    """R(2+1)D blocks on video: space, then time, residual with a strided shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._conv(3, 24, 1, 11)
        self.conv1, self.conv2 = self._conv(24, 48, 2, 40), self._conv(48, 48, 1, 40)
        self.shortcut = nn.Sequential(
            nn.Conv3d(24, 48, 1, stride=2, bias=False), nn.BatchNorm3d(48)
        )
        self.fc = nn.Linear(48, 7)

    def _conv(self, inputs: int, outputs: int, stride: int, middle: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            *(nn.BatchNorm3d(middle), nn.ReLU(inplace=True)),
            nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
            nn.BatchNorm3d(outputs),
        )

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(clip))
        x = F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))
        return self.fc(F.adaptive_avg_pool3d(x, 1).flatten(1))


class UNet3D(nn.Module):
    """A small volume segmenter: instance norms, transposed convolution, concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2 = self._block(1, 16), self._block(16, 32)
        self.up, self.dec = nn.ConvTranspose3d(32, 16, 2, 2), self._block(32, 16)
        self.out = nn.Conv3d(16, 2, 1)

    def _block(self, inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, padding=1),
            *(nn.InstanceNorm3d(outputs, affine=True), nn.PReLU(outputs)),
            *(nn.Conv3d(outputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.enc1(x)
        x = self.up(self.enc2(F.max_pool3d(skip, 2)))
        return torch.sigmoid(self.out(self.dec(torch.cat([skip, x], dim=1))))


def _case(model: Callable[[], nn.Module], *shape: int) -> Callable[[], tuple[nn.Module, Any]]:
    return lambda: (model().eval(), torch.randn(*shape))


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "spectrogram_cnn": _case(SpectrogramCNN, 2, 320),
    "spectral_mask": _case(MaskNet, 2, 320),
    "conformer": _case(Conformer, 2, 35, 20),
    "r2plus1d": _case(Conv2Plus1D, 2, 3, 4, 12, 12),
    "unet3d": _case(UNet3D, 2, 1, 8, 8, 8),
}
