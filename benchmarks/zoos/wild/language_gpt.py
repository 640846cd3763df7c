"""Decoder-only language models, after nanoGPT, llama2.c and their like."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY, LENGTH = 97, 16


@dataclass
class GPTConfig:
    """Sizes, as nanoGPT's dataclass has them."""

    block_size: int = LENGTH
    vocab_size: int = VOCABULARY
    n_layer: int = 2
    n_head: int = 4
    n_embd: int = 64
    bias: bool = False


class CausalSelfAttention(nn.Module):
    """nanoGPT: one matrix for q, k and v, split; a mask buffer."""

    bias: torch.Tensor

    def __init__(self, config: GPTConfig, alibi: bool = False) -> None:
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.n_head = config.n_head
        self.n_embd = config.n_embd
        size = config.block_size
        mask = torch.tril(torch.ones(size, size)).view(1, 1, size, size)
        self.register_buffer("bias", mask)
        self.alibi = alibi
        slopes = torch.tensor([2 ** (-8 * (h + 1) / config.n_head) for h in range(config.n_head)])
        self.register_buffer("slopes", slopes.view(1, -1, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        if self.alibi:
            place = torch.arange(T, device=x.device)
            att = att + self.slopes * (place[None, :] - place[:, None])
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class Block(nn.Module):
    """Pre-norm block with a four times wider MLP."""

    def __init__(self, config: GPTConfig, alibi: bool = False) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config, alibi)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(config.n_embd, 4 * config.n_embd),
                "c_proj": nn.Linear(4 * config.n_embd, config.n_embd),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class GPT(nn.Module):
    """nanoGPT with a tied head; returns (logits of the last position, loss) as it does."""

    def __init__(self, config: GPTConfig, alibi: bool = False) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "h": nn.ModuleList([Block(config, alibi) for _ in range(config.n_layer)]),
                "ln_f": nn.LayerNorm(config.n_embd),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.transformer.wte.weight = self.lm_head.weight
        self.alibi = alibi

    def forward(
        self, idx: torch.Tensor, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.transformer.wte(idx)
        if not self.alibi:
            x = x + self.transformer.wpe(pos)
        for block in self.transformer.h:
            x = block(x)
        x = self.transformer.ln_f(x)
        if targets is not None:
            logits = self.lm_head(x)
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
            return logits, loss
        return self.lm_head(x[:, [-1], :]), None


class RMSNorm(nn.Module):
    """Llama's norm, computed in float."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * self.weight


def precompute_freqs_cis(dim: int, end: int) -> torch.Tensor:
    """Complex exponentials of the rotary embedding."""
    freqs = 1.0 / (10000 ** (torch.arange(0, dim, 2)[: dim // 2].float() / dim))
    freqs = torch.outer(torch.arange(end).float(), freqs)
    return torch.polar(torch.ones_like(freqs), freqs)


def rotate_complex(x: torch.Tensor, freqs: torch.Tensor) -> torch.Tensor:
    """llama's rope on (batch, time, heads, head size): pairs as complex numbers."""
    x_ = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    shaped = freqs.view(1, x_.shape[1], 1, x_.shape[-1])
    return torch.view_as_real(x_ * shaped).flatten(3).type_as(x)


def rotate_pairs(x: torch.Tensor, freqs: torch.Tensor) -> torch.Tensor:
    """llama2.c's rope: real and imaginary parts unbound."""
    cos, sin = (part[None, :, None, :] for part in (freqs.real, freqs.imag))
    real, imaginary = x.float().reshape((*x.shape[:-1], -1, 2)).unbind(-1)
    out_r = real * cos - imaginary * sin
    out_i = real * sin + imaginary * cos
    return torch.stack([out_r, out_i], dim=-1).flatten(3).type_as(x)


def rotate_half(x: torch.Tensor, freqs: torch.Tensor) -> torch.Tensor:
    """GPT-NeoX's rope: the second half, negated, beside the first."""
    angle = torch.angle(freqs)
    angle = torch.cat([angle, angle], -1)[None, :, None, :]
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return x * angle.cos() + torch.cat([-x2, x1], -1) * angle.sin()


def repeat_kv(x: torch.Tensor, n_rep: int) -> torch.Tensor:
    """torch.repeat_interleave(x, dim=2, repeats=n_rep), as llama writes it."""
    bs, slen, n_kv_heads, head_dim = x.shape
    x = x[:, :, :, None, :].expand(bs, slen, n_kv_heads, n_rep, head_dim)
    return x.reshape(bs, slen, n_kv_heads * n_rep, head_dim)


Rope = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class LlamaBlock(nn.Module):
    """Grouped queries, rope, SwiGLU."""

    def __init__(self, dim: int, heads: int, kv_heads: int, rope: Rope, interleave: bool) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.wq = nn.Linear(dim, heads * self.head_dim, bias=False)
        self.wk = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(heads * self.head_dim, dim, bias=False)
        self.w1 = nn.Linear(dim, 3 * dim, bias=False)
        self.w2 = nn.Linear(3 * dim, dim, bias=False)
        self.w3 = nn.Linear(dim, 3 * dim, bias=False)
        self.attention_norm, self.ffn_norm = RMSNorm(dim), RMSNorm(dim)
        self.rope, self.interleave = rope, interleave

    def forward(self, x: torch.Tensor, freqs: torch.Tensor) -> torch.Tensor:
        bsz, seqlen, _ = x.shape
        h = self.attention_norm(x)
        xq = self.rope(self.wq(h).view(bsz, seqlen, self.heads, self.head_dim), freqs)
        xk = self.rope(self.wk(h).view(bsz, seqlen, self.kv_heads, self.head_dim), freqs)
        xv = self.wv(h).view(bsz, seqlen, self.kv_heads, self.head_dim)
        times = self.heads // self.kv_heads
        if self.interleave:
            xk, xv = (t.repeat_interleave(times, dim=2) for t in (xk, xv))
        else:
            xk, xv = repeat_kv(xk, times), repeat_kv(xv, times)
        xq, xk, xv = (t.transpose(1, 2) for t in (xq, xk, xv))
        y = F.scaled_dot_product_attention(xq, xk, xv, is_causal=True)
        x = x + self.wo(y.transpose(1, 2).contiguous().view(bsz, seqlen, -1))
        h = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(h)) * self.w3(h))


class Llama(nn.Module):
    """llama2.c's model with one of three ropes."""

    freqs_cis: torch.Tensor

    def __init__(self, rope: Rope, interleave: bool = False, tied: bool = True) -> None:
        super().__init__()
        dim, heads = 64, 8
        self.tok_embeddings = nn.Embedding(VOCABULARY, dim)
        layers = [LlamaBlock(dim, heads, 2, rope, interleave) for _ in range(2)]
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(dim)
        self.output = nn.Linear(dim, VOCABULARY, bias=False)
        if tied:
            self.tok_embeddings.weight = self.output.weight
        freqs = precompute_freqs_cis(dim // heads, 2 * LENGTH)
        self.register_buffer("freqs_cis", freqs, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.tok_embeddings(tokens)
        freqs = self.freqs_cis[: tokens.shape[1]]
        for layer in self.layers:
            h = layer(h, freqs)
        return self.output(self.norm(h))


def _tokens() -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (2, LENGTH))


def _with_loss() -> tuple[nn.Module, Any]:
    return GPT(GPTConfig(bias=True)).eval(), (_tokens(), _tokens())


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "nanogpt": lambda: (GPT(GPTConfig()).eval(), _tokens()),
    "nanogpt_loss": _with_loss,
    "gpt_alibi": lambda: (GPT(GPTConfig(), alibi=True).eval(), _tokens()),
    "llama_complex_rope": lambda: (Llama(rotate_complex).eval(), _tokens()),
    "llama2c": lambda: (Llama(rotate_pairs, tied=False).eval(), _tokens()),
    "llama_rotate_half": lambda: (Llama(rotate_half, interleave=True).eval(), _tokens()),
}
