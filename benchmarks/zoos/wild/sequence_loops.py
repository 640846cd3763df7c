"""Sequence models with loops over time, long convolutions and state spaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY, LENGTH, DIM = 83, 10, 48


class CellLoop(nn.Module):
    """nn.LSTMCell and nn.GRUCell in a loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 40
        self.lstm1 = nn.LSTMCell(6, self.hidden)
        self.gru2 = nn.GRUCell(self.hidden, self.hidden)
        self.linear = nn.Linear(self.hidden, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h_t = torch.zeros(x.size(0), self.hidden, dtype=x.dtype)
        c_t = torch.zeros(x.size(0), self.hidden, dtype=x.dtype)
        h_t2 = torch.zeros(x.size(0), self.hidden, dtype=x.dtype)
        outputs = []
        for input_t in x.split(1, dim=1):
            h_t, c_t = self.lstm1(input_t.squeeze(1), (h_t, c_t))
            h_t2 = self.gru2(h_t, h_t2)
            outputs += [self.linear(h_t2)]
        return torch.stack(outputs, dim=1)


class HandWrittenLSTM(nn.Module):
    """An LSTM of one matrix per side, its gates cut out by chunk."""

    def __init__(self, inputs: int = 6, hidden: int = 40) -> None:
        super().__init__()
        self.hidden = hidden
        self.i2h = nn.Linear(inputs, 4 * hidden)
        self.h2h = nn.Linear(hidden, 4 * hidden)
        self.fc = nn.Linear(hidden, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(x.shape[0], self.hidden)
        for t in range(x.shape[1]):
            gates = self.i2h(x[:, t]) + self.h2h(h)
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.fc(h)


class Seq2Seq(nn.Module):
    """GRU encoder, and a decoder with Bahdanau attention that is fed the target's words."""

    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.enc_embedding, self.dec_embedding = (nn.Embedding(VOCABULARY, DIM) for _ in range(2))
        self.encoder = nn.GRU(DIM, hidden, batch_first=True)
        self.Wa, self.Ua = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.Va = nn.Linear(hidden, 1)
        self.decoder = nn.GRU(DIM + hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, VOCABULARY)

    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys, hidden = self.encoder(self.enc_embedding(src))
        outputs, attentions = [], []
        for i in range(tgt.shape[1]):
            embedded = self.dec_embedding(tgt[:, i : i + 1])
            query = hidden.permute(1, 0, 2)
            scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys))).squeeze(2).unsqueeze(1)
            weights = F.softmax(scores, dim=-1)
            context = torch.bmm(weights, keys)
            output, hidden = self.decoder(torch.cat((embedded, context), dim=2), hidden)
            outputs.append(self.out(output))
            attentions.append(weights)
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1), torch.cat(attentions, dim=1)


class RWKV(nn.Module):
    """One RWKV block: token shift, the WKV recurrence as a loop, channel mixing."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(VOCABULARY, DIM)
        self.ln1, self.ln2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.time_shift = nn.ZeroPad2d((0, 0, 1, -1))
        self.time_decay = nn.Parameter(torch.randn(DIM) * 0.3)
        self.time_first = nn.Parameter(torch.randn(DIM) * 0.3)
        self.mix_k, self.mix_v, self.mix_r, self.mix_c = (
            nn.Parameter(torch.rand(1, 1, DIM)) for _ in range(4)
        )
        self.key, self.value, self.receptance, self.output = (
            nn.Linear(DIM, DIM, bias=False) for _ in range(4)
        )
        self.c_key = nn.Linear(DIM, 4 * DIM, bias=False)
        self.c_value = nn.Linear(4 * DIM, DIM, bias=False)
        self.c_receptance = nn.Linear(DIM, DIM, bias=False)
        self.head = nn.Linear(DIM, VOCABULARY, bias=False)

    def wkv(self, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        w = -torch.exp(self.time_decay)
        aa = torch.zeros_like(k[:, 0])
        bb = torch.zeros_like(k[:, 0])
        pp = torch.full_like(k[:, 0], -1e38)
        out = torch.empty_like(v)
        for t in range(k.shape[1]):
            ww = self.time_first + k[:, t]
            qq = torch.maximum(pp, ww)
            e1, e2 = torch.exp(pp - qq), torch.exp(ww - qq)
            out[:, t] = (e1 * aa + e2 * v[:, t]) / (e1 * bb + e2)
            ww = pp + w
            qq = torch.maximum(ww, k[:, t])
            e1, e2 = torch.exp(ww - qq), torch.exp(k[:, t] - qq)
            aa, bb, pp = e1 * aa + e2 * v[:, t], e1 * bb + e2, qq
        return out

    def forward(self, idx: torch.Tensor) -> torch.Tensor:
        x = self.emb(idx)
        y = self.ln1(x)
        xx = self.time_shift(y)
        k = self.key(y * self.mix_k + xx * (1 - self.mix_k))
        v = self.value(y * self.mix_v + xx * (1 - self.mix_v))
        r = torch.sigmoid(self.receptance(y * self.mix_r + xx * (1 - self.mix_r)))
        x = x + self.output(r * self.wkv(k, v))
        y = self.ln2(x)
        xk = y * self.mix_c + self.time_shift(y) * (1 - self.mix_c)
        x = x + torch.sigmoid(self.c_receptance(xk)) * self.c_value(self.c_key(xk).relu().square())
        return self.head(x)


class MambaBlock(nn.Module):
    """mamba-minimal's selective state space with its sequential scan."""

    def __init__(self, d_state: int = 8, d_conv: int = 4, dt_rank: int = 6) -> None:
        super().__init__()
        d_inner = 2 * DIM
        self.in_proj = nn.Linear(DIM, d_inner * 2, bias=False)
        self.conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(d_inner, dt_rank + d_state * 2, bias=False)
        self.dt_proj = nn.Linear(dt_rank, d_inner)
        A = torch.arange(1.0, d_state + 1).repeat(d_inner, 1)
        self.A_log = nn.Parameter(torch.log(A))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, DIM, bias=False)
        self.dt_rank, self.d_state, self.d_inner = dt_rank, d_state, d_inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, length, _ = x.shape
        x, res = self.in_proj(x).split([self.d_inner, self.d_inner], dim=-1)
        x = self.conv1d(x.transpose(1, 2))[:, :, :length].transpose(1, 2)
        x = F.silu(x)
        A = -torch.exp(self.A_log.float())
        delta, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = F.softplus(self.dt_proj(delta))
        deltaA = torch.exp(torch.einsum("bld,dn->bldn", delta, A))
        deltaB_u = torch.einsum("bld,bln,bld->bldn", delta, B, x)
        state = torch.zeros((b, self.d_inner, self.d_state), device=x.device)
        ys = []
        for i in range(length):
            state = deltaA[:, i] * state + deltaB_u[:, i]
            ys.append(torch.einsum("bdn,bn->bd", state, C[:, i, :]))
        y = torch.stack(ys, dim=1) + x * self.D
        return self.out_proj(y * F.silu(res))


class S4D(nn.Module):
    """S4D: a diagonal complex state space turned into a kernel, convolved by FFT, then GLU."""

    def __init__(self, n: int = 8) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.randn(DIM))
        self.log_dt = nn.Parameter(torch.rand(DIM) * 2 - 4)
        self.C = nn.Parameter(torch.randn(DIM, n // 2, 2))
        self.log_A_real = nn.Parameter(torch.log(0.5 * torch.ones(DIM, n // 2)))
        self.A_imag = nn.Parameter(torch.arange(1.0, n // 2 + 1).repeat(DIM, 1))
        self.output_linear = nn.Sequential(nn.Conv1d(DIM, 2 * DIM, kernel_size=1), nn.GLU(dim=-2))

    def kernel(self, length: int) -> torch.Tensor:
        dt = torch.exp(self.log_dt)
        C = torch.view_as_complex(self.C)
        A = -torch.exp(self.log_A_real) + 1j * self.A_imag
        dtA = A * dt.unsqueeze(-1)
        K = dtA.unsqueeze(-1) * torch.arange(length, device=A.device)
        C = C * (torch.exp(dtA) - 1.0) / A
        return 2 * torch.einsum("hn, hnl -> hl", C, torch.exp(K)).real

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = x.transpose(-1, -2)
        length = u.size(-1)
        k_f = torch.fft.rfft(self.kernel(length), n=2 * length)
        u_f = torch.fft.rfft(u, n=2 * length)
        y = torch.fft.irfft(u_f * k_f, n=2 * length)[..., :length]
        y = F.gelu(y + u * self.D.unsqueeze(-1))
        return self.output_linear(y).transpose(-1, -2)


class HyenaOperator(nn.Module):
    """Hyena: short filters, an implicit long filter from an MLP over positions, gates."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.short_filter = nn.Conv1d(3 * DIM, 3 * DIM, 3, padding=2, groups=3 * DIM)
        self.filter = nn.Sequential(nn.Linear(3, 32), nn.GELU(), nn.Linear(32, DIM))
        t = torch.linspace(0, 1, LENGTH)[:, None]
        z = torch.cat([t, torch.cos(6 * t), torch.sin(6 * t)], -1)
        self.register_buffer("z", z)
        self.bias = nn.Parameter(torch.randn(DIM))

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        length = u.size(-2)
        u = self.in_proj(u).transpose(1, 2)
        uc = self.short_filter(u)[..., :length]
        x0, x1, v = uc.split(DIM, dim=1)
        k = self.filter(self.z[:length]).transpose(0, 1)
        fft_size = 2 * length
        k_f = torch.fft.rfft(k, n=fft_size) / fft_size
        v = v * x1
        v_f = torch.fft.rfft(v, n=fft_size)
        y = torch.fft.irfft(v_f * k_f, n=fft_size, norm="forward")[..., :length]
        y = (y + v * self.bias.unsqueeze(-1)) * x0
        return self.out_proj(y.transpose(1, 2))


class Stacked(nn.Module):
    """Embedding, two residual blocks with a norm each, a head."""

    def __init__(self, block: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, DIM)
        self.blocks = nn.ModuleList([block() for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(DIM) for _ in range(2)])
        self.head = nn.Linear(DIM, VOCABULARY)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.head(x)


def _ids(*shape: int) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, shape)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "cell_loop": lambda: (CellLoop().eval(), torch.randn(2, LENGTH, 6)),
    "handwritten_lstm": lambda: (HandWrittenLSTM().eval(), torch.randn(2, LENGTH, 6)),
    "seq2seq_bahdanau": lambda: (Seq2Seq().eval(), (_ids(2, LENGTH), _ids(2, 5))),
    "rwkv": lambda: (RWKV().eval(), _ids(2, LENGTH)),
    "mamba_minimal": lambda: (Stacked(MambaBlock).eval(), _ids(2, LENGTH)),
    "s4d": lambda: (Stacked(S4D).eval(), _ids(2, LENGTH)),
    "hyena": lambda: (Stacked(HyenaOperator).eval(), _ids(2, LENGTH)),
}
