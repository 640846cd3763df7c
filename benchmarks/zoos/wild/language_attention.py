"""Attention other than the usual: relative, local, linear, random features, retention, mixing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY, LENGTH, DIM, HEADS = 97, 16, 64, 4
Attention = Callable[[], nn.Module]


class Encoder(nn.Module):
    """Embedding, blocks with any token mixer, a pooled classifier of 5 classes."""

    def __init__(self, mixer: Attention, depth: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, DIM)
        self.mixers = nn.ModuleList([mixer() for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(DIM) for _ in range(2 * depth)])
        self.mlps = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))
                for _ in range(depth)
            ]
        )
        self.head = nn.Linear(DIM, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for number, (mixer, mlp) in enumerate(zip(self.mixers, self.mlps, strict=True)):
            x = x + mixer(self.norms[2 * number](x))
            x = x + mlp(self.norms[2 * number + 1](x))
        return self.head(x.mean(1))


class T5Attention(nn.Module):
    """Bucketed relative positions, no scale, inner size unlike the model's."""

    def __init__(self, inner: int = 96, buckets: int = 8) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(DIM, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, DIM, bias=False)
        self.relative_attention_bias = nn.Embedding(buckets, HEADS)
        self.buckets = buckets

    def bucket(self, distance: torch.Tensor) -> torch.Tensor:
        half = self.buckets // 2
        result = (distance > 0).long() * half
        n = distance.abs()
        large = (torch.log(n.float().clamp(min=1) / 2) / math.log(8) * (half - 2)).long() + 2
        return result + torch.where(n < 2, n, large.clamp(max=half - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, _ = x.shape

        def shape(states: torch.Tensor) -> torch.Tensor:
            return states.view(b, -1, HEADS, states.shape[-1] // HEADS).transpose(1, 2)

        q, k, v = shape(self.q(x)), shape(self.k(x)), shape(self.v(x))
        scores = torch.matmul(q, k.transpose(3, 2))
        place = torch.arange(n)
        values = self.relative_attention_bias(self.bucket(place[None, :] - place[:, None]))
        scores += values.permute([2, 0, 1]).unsqueeze(0)
        weights = F.softmax(scores.float(), dim=-1).type_as(scores)
        out = torch.matmul(weights, v).transpose(1, 2).contiguous().view(b, n, -1)
        return self.o(out)


class RelPartialAttention(nn.Module):
    """Transformer-XL: content and position terms, the latter shifted by pad and view."""

    def __init__(self) -> None:
        super().__init__()
        d = DIM // HEADS
        self.qkv_net = nn.Linear(DIM, 3 * DIM, bias=False)
        self.r_net = nn.Linear(DIM, DIM, bias=False)
        self.o_net = nn.Linear(DIM, DIM, bias=False)
        self.r_w_bias = nn.Parameter(torch.randn(HEADS, d) * 0.1)
        self.r_r_bias = nn.Parameter(torch.randn(HEADS, d) * 0.1)
        inv_freq = 1 / (10000 ** (torch.arange(0.0, DIM, 2.0) / DIM))
        self.register_buffer("inv_freq", inv_freq)

    def _rel_shift(self, x: torch.Tensor) -> torch.Tensor:
        b, h, q, k = x.size()
        zero_pad = torch.zeros((b, h, q, 1), device=x.device, dtype=x.dtype)
        x_padded = torch.cat([zero_pad, x], dim=3).view(b, h, k + 1, q)
        return x_padded[:, :, 1:].view_as(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, _ = x.shape
        q, k, v = torch.chunk(self.qkv_net(x), 3, dim=-1)
        q, k, v = (t.view(b, n, HEADS, -1) for t in (q, k, v))
        place = torch.arange(n - 1, -1, -1.0, device=x.device)
        angle = torch.ger(place, self.inv_freq)
        r = self.r_net(torch.cat([angle.sin(), angle.cos()], dim=-1)).view(n, HEADS, -1)
        content = torch.einsum("bind,bjnd->bnij", q + self.r_w_bias, k)
        position = torch.einsum("bind,jnd->bnij", q + self.r_r_bias, r)
        score = (content + self._rel_shift(position)) * (1 / (q.shape[-1] ** 0.5))
        causal = torch.triu(torch.ones(n, n, dtype=torch.bool, device=x.device), 1)
        prob = F.softmax(score.masked_fill(causal, -1e30), dim=-1)
        out = torch.einsum("bnij,bjnd->bind", prob, v).reshape(b, n, -1)
        return self.o_net(out)


class LocalAttention(nn.Module):
    """Longformer-like: each block of 4 sees its neighbours, windows made by pad and unfold."""

    def __init__(self, window: int = 4) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.out = nn.Linear(DIM, DIM)
        self.window = window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        w = self.window
        q, k, v = self.qkv(x).reshape(b, n, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        q = q.reshape(b, HEADS, n // w, w, -1)
        k, v = (F.pad(t, (0, 0, w, w)).unfold(2, 3 * w, w).transpose(-1, -2) for t in (k, v))
        scores = torch.einsum("bhnid,bhnjd->bhnij", q * q.shape[-1] ** -0.5, k)
        out = torch.einsum("bhnij,bhnjd->bhnid", scores.softmax(-1), v)
        return self.out(out.reshape(b, HEADS, n, -1).transpose(1, 2).reshape(b, n, d))


class LinearAttention(nn.Module):
    """Causal linear attention (Katharopoulos): elu features, running sums of outer products."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(DIM, DIM) for _ in range(3))
        self.out = nn.Linear(DIM, DIM)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, n, HEADS, -1) for f in (self.query, self.key, self.value))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        if self.causal:
            state = torch.einsum("nlhd,nlhm->nlhdm", k, v).cumsum(1)
            z = 1 / (torch.einsum("nlhd,nlhd->nlh", q, k.cumsum(1)) + 1e-6)
            out = torch.einsum("nlhd,nlhdm,nlh->nlhm", q, state, z)
        else:
            kv = torch.einsum("nshd,nshm->nhmd", k, v)
            z = 1 / (torch.einsum("nlhd,nhd->nlh", q, k.sum(dim=1)) + 1e-6)
            out = torch.einsum("nlhd,nhmd,nlh->nlhm", q, kv, z)
        return self.out(out.reshape(b, n, -1))


class PerformerAttention(nn.Module):
    """FAVOR+: a random projection of every head in a buffer."""

    def __init__(self, features: int = 24) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (
            nn.Linear(DIM, DIM, bias=False) for _ in range(4)
        )
        blocks = torch.linalg.qr(torch.randn(features, DIM // HEADS).T)[0].T
        matrix = torch.cat([blocks, torch.randn(features - blocks.shape[0], DIM // HEADS)])
        self.register_buffer("projection_matrix", matrix)

    def features(self, data: torch.Tensor, is_query: bool) -> torch.Tensor:
        normalizer = data.shape[-1] ** -0.25
        ratio = self.projection_matrix.shape[0] ** -0.5
        dash = torch.einsum("...id,jd->...ij", normalizer * data, self.projection_matrix)
        diag = (data**2).sum(dim=-1, keepdim=True) / 2.0 * normalizer**2
        dims = (-1,) if is_query else (-1, -2)
        return ratio * (torch.exp(dash - diag - dash.amax(dim=dims, keepdim=True)) + 1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        q, k, v = (
            f(x).view(b, n, HEADS, d // HEADS).permute(0, 2, 1, 3)
            for f in (self.to_q, self.to_k, self.to_v)
        )
        q, k = self.features(q, True), self.features(k, False)
        d_inv = 1.0 / torch.einsum("...nd,...d->...n", q, k.sum(dim=-2))
        context = torch.einsum("...nd,...ne->...de", k, v)
        out = torch.einsum("...de,...nd,...n->...ne", context, q, d_inv)
        return self.to_out(out.transpose(1, 2).reshape(b, n, -1))


class MultiScaleRetention(nn.Module):
    """RetNet's parallel form: decay matrices, group norm over heads, a swish gate."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj = (nn.Linear(DIM, DIM, bias=False) for _ in range(2))
        self.v_proj, self.g_proj = (nn.Linear(DIM, 2 * DIM, bias=False) for _ in range(2))
        self.out_proj = nn.Linear(2 * DIM, DIM, bias=False)
        self.group_norm = nn.GroupNorm(HEADS, 2 * DIM)
        gamma = torch.log(1 - 2 ** (-5 - torch.arange(HEADS, dtype=torch.float)))
        self.register_buffer("decay", gamma)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        q = self.q_proj(x).view(b, n, HEADS, -1).transpose(1, 2)
        k = self.k_proj(x).view(b, n, HEADS, -1).transpose(1, 2) * (d // HEADS) ** -0.5
        v = self.v_proj(x).view(b, n, HEADS, -1).transpose(1, 2)
        place = torch.arange(n).to(self.decay)
        mask = torch.tril(torch.ones(n, n)).to(self.decay)
        mask = torch.exp((place[:, None] - place[None, :]) * self.decay[:, None, None]) * mask
        qk = q @ k.transpose(-1, -2) * mask
        qk = qk / qk.detach().sum(dim=-1, keepdim=True).abs().clamp(min=1)
        out = torch.matmul(qk, v).transpose(1, 2).reshape(b * n, -1)
        out = self.group_norm(out).reshape(b, n, -1)
        return self.out_proj(F.silu(self.g_proj(x)) * out)


class SpatialGating(nn.Module):
    """gMLP: half of the channels gate the other through a convolution over positions."""

    def __init__(self, d_ffn: int = 128) -> None:
        super().__init__()
        self.channel_proj1 = nn.Linear(DIM, d_ffn * 2)
        self.norm = nn.LayerNorm(d_ffn)
        self.spatial_proj = nn.Conv1d(LENGTH, LENGTH, kernel_size=1)
        nn.init.constant_(self.spatial_proj.bias, 1.0)
        self.channel_proj2 = nn.Linear(d_ffn, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, v = F.gelu(self.channel_proj1(x)).chunk(2, dim=-1)
        return self.channel_proj2(u * self.spatial_proj(self.norm(v)))


class FourierMixing(nn.Module):
    """FNet: a Fourier transform over channels and positions, its real part."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real


def _case(mixer: Attention) -> Callable[[], tuple[nn.Module, Any]]:
    return lambda: (Encoder(mixer).eval(), torch.randint(0, VOCABULARY, (2, LENGTH)))


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "t5_bias": _case(T5Attention),
    "transformer_xl": _case(RelPartialAttention),
    "local_windows": _case(LocalAttention),
    "linear_attention": _case(lambda: LinearAttention(False)),
    "causal_linear_attention": _case(lambda: LinearAttention(True)),
    "performer": _case(PerformerAttention),
    "retnet": _case(MultiScaleRetention),
    "gmlp": _case(SpatialGating),
    "fnet": _case(FourierMixing),
}
