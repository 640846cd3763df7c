"""Vision: attention and mixing of tokens, written out in the ways people write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.zoos.pictures import pictures


class MlpMixer(nn.Module):
    """lucidrains/mlp-mixer-pytorch: Linear over channels, Conv1d over tokens, and transposes."""

    def __init__(self, dim: int = 48, tokens: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.patch = nn.Linear(48, dim)
        self.norms1 = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.norms2 = nn.ModuleList(nn.LayerNorm(dim) for _ in range(depth))
        self.token = nn.ModuleList(
            nn.Sequential(nn.Conv1d(tokens, 64, 1), nn.GELU(), nn.Conv1d(64, tokens, 1))
            for _ in range(depth)
        )
        self.channel = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim)) for _ in range(depth)
        )
        self.spatial = nn.Linear(tokens, tokens)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(b, -1, 48)
        x = self.patch(x)
        blocks = zip(self.norms1, self.token, self.norms2, self.channel, strict=True)
        for norm1, token, norm2, channel in blocks:
            x = x + token(norm1(x))
            x = x + channel(norm2(x))
        x = x + self.spatial(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.norm(x).mean(dim=1))


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


class RopeViT(nn.Module):
    """A class token, four registers, and 2-D rotary positions on the patches alone (DINOv3)."""

    def __init__(self, dim: int = 64, heads: int = 4, depth: int = 2, patch: int = 4) -> None:
        super().__init__()
        self.heads, self.extra = heads, 5
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.register_tokens = nn.Parameter(torch.randn(1, 4, dim) * 0.02)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            layer = nn.ModuleDict()
            layer["norm1"], layer["norm2"] = nn.LayerNorm(dim), nn.LayerNorm(dim)
            layer["qkv"], layer["proj"] = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
            layer["fc1"], layer["fc2"] = nn.Linear(dim, 4 * dim), nn.Linear(2 * dim, dim)
            self.layers.append(layer)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(2 * dim, 10)

    def rope(self, h: int, w: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        periods = 100 ** (2 * torch.arange(head_dim // 4) / (head_dim // 2))
        coords = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), -1)
        angles = 2 * math.pi * coords.flatten(0, 1)[:, :, None] / periods[None, None, :]
        angles = angles.flatten(1, 2).tile(2)
        return angles.cos(), angles.sin()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x)
        b, dim, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat(
            [self.cls_token.expand(b, -1, -1), self.register_tokens.expand(b, -1, -1), x], 1
        )
        cos, sin = self.rope(h, w, dim // self.heads)
        for layer in self.layers:
            n = x.shape[1]
            qkv = layer["qkv"](layer["norm1"](x)).reshape(b, n, 3, self.heads, dim // self.heads)
            q, k, v = (t.transpose(1, 2) for t in torch.unbind(qkv, 2))
            q, k = (self.apply_rope(t, cos, sin) for t in (q, k))
            out = F.scaled_dot_product_attention(q, k, v)
            x = x + layer["proj"](out.transpose(1, 2).reshape([b, n, dim]))
            gate, up = layer["fc1"](layer["norm2"](x)).chunk(2, dim=-1)
            x = x + layer["fc2"](F.silu(gate) * up)
        x = self.norm(x)
        return self.head(torch.cat([x[:, 0], x[:, self.extra :].mean(1)], dim=1))

    def apply_rope(self, t: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        prefix, t = t[:, :, : self.extra], t[:, :, self.extra :]
        return torch.cat((prefix, t * cos + rotate_half(t) * sin), dim=-2)


class Perceiver(nn.Module):
    """Latents ask the picture, then each other; positions are Fourier features."""

    def __init__(self, latents: int = 8, dim: int = 48, heads: int = 4) -> None:
        super().__init__()
        self.latents, self.heads = nn.Parameter(torch.randn(latents, dim)), heads
        self.norm_x, self.norm_l = nn.LayerNorm(3 + 10), nn.LayerNorm(dim)
        self.to_q, self.to_kv = nn.Linear(dim, 64, bias=False), nn.Linear(13, 128, bias=False)
        self.to_out = nn.Linear(64, dim)
        self.inner = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.ff = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim)
        )
        self.to_logits = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, *axis, _ = x.shape
        pos = torch.stack(
            torch.meshgrid(*(torch.linspace(-1, 1, n) for n in axis), indexing="ij"), -1
        )
        scaled = pos.unsqueeze(-1) * torch.linspace(1.0, 5.0, 2) * math.pi
        fourier = torch.cat([scaled.sin(), scaled.cos(), pos.unsqueeze(-1)], dim=-1)
        fourier = fourier.reshape(*axis, -1).expand(b, *axis, 10)
        data = self.norm_x(torch.cat((x, fourier), dim=-1).reshape(b, -1, 13))
        z = self.latents.unsqueeze(0).repeat(b, 1, 1)
        q = self.to_q(self.norm_l(z))
        k, v = self.to_kv(data).chunk(2, dim=-1)
        q, k, v = (
            t.reshape(b, t.shape[1], self.heads, -1).permute(0, 2, 1, 3).flatten(0, 1)
            for t in (q, k, v)
        )
        sim = torch.einsum("bid,bjd->bij", q, k) * (q.shape[-1] ** -0.5)
        out = torch.einsum("bij,bjd->bid", sim.softmax(dim=-1), v)
        out = out.view(b, self.heads, out.shape[1], -1).permute(0, 2, 1, 3).flatten(2)
        z = z + self.to_out(out)
        z = z + self.inner(z, z, z, need_weights=False)[0]
        z = z + self.ff(z)
        return self.to_logits(z.mean(dim=-2))


class BaddbmmAttention(nn.Module):
    """As in the older diffusers: heads folded into the batch, the scale inside baddbmm."""

    def __init__(self, dim: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, dim = x.shape
        head = dim // self.heads
        q, k, v = (
            f(x)
            .reshape(b, n, self.heads, head)
            .permute(0, 2, 1, 3)
            .reshape(b * self.heads, n, head)
            for f in (self.to_q, self.to_k, self.to_v)
        )
        empty = torch.empty(q.shape[0], q.shape[1], k.shape[1], dtype=q.dtype, device=q.device)
        scores = torch.baddbmm(empty, q, k.transpose(-1, -2), beta=0, alpha=head**-0.5)
        out = torch.bmm(scores.softmax(dim=-1), v)
        out = out.reshape(b, self.heads, n, head).permute(0, 2, 1, 3).reshape(b, n, dim)
        return self.to_out(out)


class MaskedAttention(nn.Module):
    """In place and with a mask: scale by ``*=``, ``masked_fill_``, a bias table by position."""

    def __init__(self, dim: int = 64, heads: int = 4, n: int = 16) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.table = nn.Parameter(torch.randn(2 * n - 1, heads) * 0.1)
        place = torch.arange(n)
        self.register_buffer("index", place[:, None] - place[None, :] + n - 1)
        self.register_buffer("mask", torch.tril(torch.ones(n, n)).view(1, 1, n, n) == 0)
        self.proj, self.drop = nn.Linear(dim, dim), nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        q = self.q(x).view(b, n, self.heads, c // self.heads).transpose(1, 2)
        q *= self.scale
        kv = self.kv(x).reshape(b, n, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        att = q @ kv[0].transpose(-2, -1)
        att += self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()
        att.masked_fill_(self.mask[:, :, :n, :n], float("-inf"))
        att = self.drop(att.softmax(-1))
        return self.proj((att @ kv[1]).transpose(1, 2).contiguous().view(b, n, c))


class TorchAttention(nn.Module):
    """nn.MultiheadAttention with queries, keys and values of its own, sequence first."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, 4, dropout=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(0, 1)
        out, _ = self.attn(x, x * 0.5, x)
        return out.transpose(0, 1)


class Encoder(nn.Module):
    """Patches, two blocks with some attention, and the mean."""

    def __init__(self, attention: Callable[[], nn.Module], dim: int = 64) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.pos_embed = nn.Parameter(torch.randn(1, 16, dim) * 0.1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(dim), attention(), nn.LayerNorm(dim),
                    nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)),
                ]
            )
            for _ in range(2)
        )  # fmt: skip
        self.head = nn.Linear(dim, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).permute(0, 2, 1) + self.pos_embed
        for norm1, attn, norm2, mlp in self.blocks:
            x = attn(norm1(x)) + x
            x = mlp(norm2(x)) + x
        return self.head(x.mean(1))


def _image() -> torch.Tensor:
    return pictures(2, 3, 16, 16)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "mlp_mixer": lambda: (MlpMixer(), _image()),
    "vit_registers_rope": lambda: (RopeViT(), _image()),
    "perceiver": lambda: (Perceiver(), _image().permute(0, 2, 3, 1)),
    "attention_baddbmm": lambda: (Encoder(BaddbmmAttention), _image()),
    "attention_in_place": lambda: (Encoder(MaskedAttention), _image()),
    "attention_of_torch": lambda: (Encoder(TorchAttention), _image()),
}
