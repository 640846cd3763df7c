"""Layers that people write themselves: experts, wrapped weights, gates, splines, memories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

IN, DIM, OUT = 12, 48, 5


class LoopExperts(nn.Module):
    """Top-2 routing, a loop over experts with index_add (Mixtral as first published)."""

    def __init__(self, experts: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(DIM, experts, bias=False)
        self.experts = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(DIM, 96), nn.SiLU(), nn.Linear(96, DIM))
                for _ in range(experts)
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights, selected = torch.topk(F.softmax(self.gate(x), dim=1), 2, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        results = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            batch_idx, nth_expert = torch.where(selected == i)
            results[batch_idx] += weights[batch_idx, nth_expert, None] * expert(x[batch_idx])
        return results


class DenseExperts(nn.Module):
    """All experts at once: batched weights in an einsum, a mask of the chosen."""

    def __init__(self, experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(DIM, experts)
        self.w1 = nn.Parameter(torch.randn(experts, DIM, 96) * 0.1)
        self.b1 = nn.Parameter(torch.zeros(experts, 96))
        self.w2 = nn.Parameter(torch.randn(experts, 96, DIM) * 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.router(x)
        top, chosen = logits.topk(2, dim=-1)
        gates = torch.zeros_like(logits).scatter(-1, chosen, top.softmax(-1))
        hidden = F.gelu(torch.einsum("bd,edh->beh", x, self.w1) + self.b1)
        return torch.einsum("beh,ehd,be->bd", hidden, self.w2, gates)


class SwitchLayer(nn.Module):
    """One expert for each example, its weights gathered."""

    def __init__(self, experts: int = 4) -> None:
        super().__init__()
        self.switch = nn.Linear(DIM, experts)
        self.up = nn.Parameter(torch.randn(experts, 96, DIM) * 0.1)
        self.down = nn.Parameter(torch.randn(experts, DIM, 96) * 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        prob, route = self.switch(x).softmax(-1).max(-1)
        hidden = F.relu(torch.bmm(self.up[route], x.unsqueeze(-1)))
        return torch.bmm(self.down[route], hidden).squeeze(-1) * prob.unsqueeze(-1)


class LoRALinear(nn.Module):
    """A frozen weight plus a product of two thin ones."""

    def __init__(self, rank: int = 4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(DIM, DIM) * 0.1, requires_grad=False)
        self.lora_A = nn.Parameter(torch.randn(rank, DIM) * 0.1)
        self.lora_B = nn.Parameter(torch.randn(DIM, rank) * 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.linear(x, self.weight) + (x @ self.lora_A.T @ self.lora_B.T) * 0.5)


class BitLinear(nn.Linear):
    """BitNet: ternary weights and 8-bit activations, straight through."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x_norm = F.rms_norm(x, (x.shape[-1],))
        scale = 127.0 / x_norm.abs().max(dim=-1, keepdim=True).values.clamp_(min=1e-5)
        x_quant = (x_norm * scale).round().clamp_(-128, 127) / scale
        x_quant = x_norm + (x_quant - x_norm).detach()
        w_scale = 1.0 / self.weight.abs().mean().clamp_(min=1e-5)
        w_quant = (self.weight * w_scale).round().clamp_(-1, 1) / w_scale
        w_quant = self.weight + (w_quant - self.weight).detach()
        return F.relu(F.linear(x_quant, w_quant, self.bias))


class Highway(nn.Module):
    """A gate between a transform and the input."""

    def __init__(self) -> None:
        super().__init__()
        self.nonlinear, self.linear, self.gate = (nn.Linear(DIM, DIM) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.nonlinear(x)) + (1 - gate) * self.linear(x)


class Maxout(nn.Module):
    """The largest of three affine maps: view and max."""

    def __init__(self, pool: int = 3) -> None:
        super().__init__()
        self.pool = pool
        self.lin = nn.Linear(DIM, DIM * pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m, _ = self.lin(x).view(*x.size()[:-1], DIM, self.pool).max(-1)
        return m


class GatedResidualNetwork(nn.Module):
    """Temporal fusion transformer's block: ELU, GLU gate, add and norm."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.context = nn.Linear(DIM, 64), nn.Linear(DIM, 64, bias=False)
        self.fc2, self.glu, self.norm = (
            nn.Linear(64, 40),
            nn.Linear(40, 2 * DIM),
            nn.LayerNorm(DIM),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.fc2(F.elu(self.fc1(x) + self.context(x.flip(0) * 0 + x)))
        return self.norm(x + F.glu(self.glu(hidden), dim=-1))


class KANLayer(nn.Module):
    """efficient-kan: a base linear map plus B-splines of every input."""

    grid: torch.Tensor

    def __init__(self, order: int = 3, size: int = 5) -> None:
        super().__init__()
        self.order = order
        grid = (torch.arange(-order, size + order + 1) * (2 / size) - 1).expand(DIM, -1)
        self.register_buffer("grid", grid.contiguous())
        self.base_weight = nn.Parameter(torch.randn(DIM, DIM) * 0.1)
        self.spline_weight = nn.Parameter(torch.randn(DIM, DIM, size + order) * 0.1)
        self.spline_scaler = nn.Parameter(torch.rand(DIM, DIM))

    def b_splines(self, x: torch.Tensor) -> torch.Tensor:
        grid, x = self.grid, x.unsqueeze(-1)
        bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)])
            right = (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:(-k)])
            bases = left * bases[:, :, :-1] + right * bases[:, :, 1:]
        return bases.contiguous()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        base = F.linear(F.silu(x), self.base_weight)
        scaled = self.spline_weight * self.spline_scaler.unsqueeze(-1)
        bases = self.b_splines(x).view(x.size(0), -1)
        return base + F.linear(bases, scaled.view(DIM, -1))


class Adapter(nn.Module):
    """A bottleneck after a frozen layer, with a weight-normalised projection."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(DIM, DIM).requires_grad_(False)
        self.down = nn.utils.parametrizations.weight_norm(nn.Linear(DIM, 16))
        self.up, self.act = nn.Linear(16, DIM), nn.PReLU(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.frozen(x))
        return x + self.up(self.act(self.down(x)))


class EulerODE(nn.Module):
    """A neural ODE: one function, eight steps of Euler's method, time as an extra input."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(DIM + 1, 64), nn.Tanh(), nn.Linear(64, DIM))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in range(8):
            t = torch.full((x.shape[0], 1), step / 8, device=x.device)
            x = x + self.f(torch.cat([x, t], dim=1)) / 8
        return x


class HyperNetwork(nn.Module):
    """The weight of a layer is made by another network from a learned code."""

    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.randn(8))
        self.generator = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, DIM * 32))
        self.out = nn.Linear(32, DIM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.generator(self.z).view(32, DIM)
        return self.out(F.relu(F.linear(x, weight)))


class Wrapped(nn.Module):
    """Linear, two of the layers, linear."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first, self.layers = nn.Linear(IN, DIM), nn.ModuleList([layer(), layer()])
        self.last = nn.Linear(DIM, OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x))
        for layer in self.layers:
            x = layer(x)
        return self.last(x)


@dataclass
class NetworkOutput:
    """What the next model returns."""

    logits: torch.Tensor
    hidden: torch.Tensor | None = None


pytree.register_dataclass(NetworkOutput)


class Outputs(nn.Module):
    """Keyword inputs of which one may be None, a bool mask, a state buffer, a dataclass out."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.kind = nn.Embedding(40, DIM), nn.Embedding(2, DIM)
        self.encode = nn.Sequential(nn.Linear(DIM, 64), nn.GELU(), nn.Linear(64, DIM))
        self.head = nn.Linear(DIM, OUT)
        self.register_buffer("mean", torch.randn(DIM))
        self.register_buffer("steps", torch.tensor(3))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> NetworkOutput:
        x = self.tokens(input_ids)
        if token_type_ids is not None:
            x = x + self.kind(token_type_ids)
        x = x + self.encode(x - self.mean) / self.steps
        if attention_mask is not None:
            x = x.masked_fill(~attention_mask[..., None], float("-inf"))
        return NetworkOutput(logits=self.head(x.max(dim=1).values))


def _case(layer: Callable[[], nn.Module]) -> Callable[[], tuple[nn.Module, Any]]:
    return lambda: (Wrapped(layer).eval(), torch.randn(4, IN))


def _outputs() -> tuple[nn.Module, Any]:
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    ids = torch.randint(0, 40, (2, 9))
    return Outputs().eval(), {"input_ids": ids, "attention_mask": mask, "token_type_ids": None}


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "experts_loop": _case(LoopExperts),
    "experts_einsum": _case(DenseExperts),
    "switch_gathered": _case(SwitchLayer),
    "lora": _case(LoRALinear),
    "bitlinear": _case(lambda: BitLinear(DIM, DIM)),
    "highway": _case(Highway),
    "maxout": _case(Maxout),
    "gated_residual": _case(GatedResidualNetwork),
    "kan": _case(KANLayer),
    "adapter": _case(Adapter),
    "euler_ode": _case(EulerODE),
    "hypernetwork": _case(HyperNetwork),
    "dataclass_output": _outputs,
}
