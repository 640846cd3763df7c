"""Networks whose forward makes tables, filters, kernels, positions and noise on every call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.zoos.pictures import pictures


class SinesInForward(nn.Module):
    """Forecasting code after the Transformer tutorial: sines written into zeros on every call."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.dim = dim
        self.embed = nn.Linear(5, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(dim, 3)

    def positions(self, length: int) -> torch.Tensor:
        place = torch.arange(length).unsqueeze(1)
        rate = torch.exp(torch.arange(0, self.dim, 2) * (-math.log(10000.0) / self.dim))
        table = torch.zeros(length, self.dim)
        table[:, 0::2] = torch.sin(place * rate)
        table[:, 1::2] = torch.cos(place * rate)
        return table

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x) * math.sqrt(self.dim)
        return self.out(self.encoder(x + self.positions(x.size(1)).to(x)).mean(1))


class DetrSines(nn.Module):
    """facebookresearch/detr: positions are counted in a mask, one for each example."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.dim = dim
        self.backbone = nn.Conv2d(3, dim, 4, 4)
        self.query = nn.Embedding(5, dim)
        self.decoder = nn.TransformerDecoderLayer(dim, 4, 48, batch_first=True)
        self.classes = nn.Linear(dim, 4)
        self.boxes = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 4))

    def positions(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.ones(x.shape[0], *x.shape[-2:], device=x.device)
        half = self.dim // 2
        rate = torch.arange(half, dtype=torch.float32)
        rate = 10000 ** (2 * (rate // 2) / half)
        found = []
        for one in (mask.cumsum(1), mask.cumsum(2)):
            angle = one[..., None] / rate
            both = (angle[..., 0::2].sin(), angle[..., 1::2].cos())
            found.append(torch.stack(both, dim=4).flatten(3))
        return torch.cat(found, dim=3).permute(0, 3, 1, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.backbone(x)
        x = (x + self.positions(x)).flatten(2).transpose(1, 2)
        query = self.query.weight.unsqueeze(0).repeat(x.size(0), 1, 1)
        x = self.decoder(query, x)
        return {"pred_logits": self.classes(x), "pred_boxes": self.boxes(x).sigmoid()}


class BlurInForward(nn.Module):
    """adobe/antialiased-cnns, with the filter made where it is used."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 24, 3)
        self.fc = nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        line = torch.tensor([1.0, 2.0, 1.0])
        kernel = line[:, None] * line[None]
        kernel = (kernel / kernel.sum())[None, None].repeat(x.size(1), 1, 1, 1).to(x)
        x = F.conv2d(F.pad(x, [1] * 4, "reflect"), kernel, stride=2, groups=x.size(1))
        return self.fc(F.relu(self.conv2(x)).mean((2, 3)))


class RepVGGFused(nn.Module):
    """DingXiaoH/RepVGG: the branches become one kernel, here in every forward of evaluation."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(width, width, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(3))
        self.fc = nn.Linear(width, 4)

    def fused(self) -> tuple[torch.Tensor, torch.Tensor]:
        identity = torch.zeros_like(self.conv3.weight)
        index = torch.arange(identity.shape[0])
        identity[index, index, 1, 1] = 1.0
        kernel, bias = torch.zeros(()), torch.zeros(())
        kernels = (self.conv3.weight, F.pad(self.conv1.weight, [1] * 4), identity)
        for one, norm in zip(kernels, self.norms, strict=True):
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            kernel = kernel + one * scale.reshape(-1, 1, 1, 1)
            bias = bias + norm.bias - norm.running_mean * scale
        return kernel, bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        kernel, bias = self.fused()
        return self.fc(F.relu(F.conv2d(x, kernel, bias, padding=1)).mean((2, 3)))


class VAE(nn.Module):
    """pytorch/examples: it samples in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(64, 40), nn.Linear(40, 8), nn.Linear(40, 8)
        self.fc3, self.fc4 = nn.Linear(8, 40), nn.Linear(40, 64)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h = F.relu(self.fc1(x.view(-1, 64)))
        mean, variance = self.fc21(h), self.fc22(h)
        deviation = torch.exp(0.5 * variance)
        z = mean + torch.randn_like(deviation) * deviation
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mean, variance


class VQLoss(nn.Module):
    """zalandoresearch/pytorch-vq-vae: nearest code, straight through, with the loss in forward."""

    def __init__(self, codes: int = 32, dim: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, dim, 3, padding=1)
        )
        self.codes = nn.Embedding(codes, dim)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, 24, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(24, 3, 4, 2, 1)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.encoder(x).permute(0, 2, 3, 1).contiguous()
        flat, table = z.view(-1, z.shape[-1]), self.codes.weight
        far = (flat**2).sum(1, keepdim=True) + (table**2).sum(1) - 2 * flat @ table.t()
        code = self.codes(far.argmin(1)).view(z.shape)
        loss = F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(code.detach(), z)
        code = z + (code - z).detach()
        return self.decoder(code.permute(0, 3, 1, 2)), loss


class DeformGather(nn.Module):
    """4uiiurz1/pytorch-deform-conv-v2, nearest neighbours: positions gathered for every channel."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem, self.offset = (
            nn.Conv2d(3, width, 3, padding=1),
            nn.Conv2d(width, 18, 3, padding=1),
        )
        self.conv, self.head = nn.Conv2d(width, 20, 3, stride=3), nn.Conv2d(20, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        offset = self.offset(x).permute(0, 2, 3, 1)
        b, c, h, w = x.shape
        rows = torch.arange(h).view(1, h, 1, 1) + offset[..., :9].round()
        columns = torch.arange(w).view(1, 1, w, 1) + offset[..., 9:].round()
        index = (rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)).long()
        index = index.unsqueeze(1).expand(-1, c, -1, -1, -1).contiguous().view(b, c, -1)
        x = x.view(b, c, -1).gather(-1, index).contiguous().view(b, c, h, w, 9)
        x = torch.cat([x[..., s : s + 3].contiguous().view(b, c, h, w * 3) for s in (0, 3, 6)], -1)
        return self.head(self.conv(x.contiguous().view(b, c, h * 3, w * 3)))


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "sines_in_forward": lambda: (SinesInForward(), torch.randn(2, 6, 5)),
    "detr_sines": lambda: (DetrSines(), pictures(2, 3, 16, 16)),
    "blur_in_forward": lambda: (BlurInForward(), pictures(2, 3, 12, 12)),
    "repvgg_fused": lambda: (RepVGGFused(), pictures(2, 3, 9, 9)),
    "vae_sampling": lambda: (VAE(), pictures(3, 1, 8, 8)),
    "vqvae_argmin_loss": lambda: (VQLoss(), pictures(2, 3, 8, 8)),
    "deform_gather": lambda: (DeformGather(), pictures(2, 3, 8, 8)),
}
