"""Networks that act: Q-learning, actor and critic, board games, decisions as sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class DuelingDQN(nn.Module):
    """The Atari network with values and advantages, their mean taken away."""

    def __init__(self, actions: int = 6) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *(nn.Conv2d(4, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, 1), nn.ReLU()),
        )
        self.value = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))
        self.advantage = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, actions))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = self.conv(frames / 255.0).view(frames.size(0), -1)
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(1, keepdim=True)


class ActorCritic(nn.Module):
    """A shared trunk; a Gaussian policy with a parameter for its spread, and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(11, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.actor_mean, self.critic = nn.Linear(64, 3), nn.Linear(64, 1)
        self.actor_logstd = nn.Parameter(torch.zeros(1, 3))

    def forward(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = self.trunk(state)
        mean = self.actor_mean(hidden)
        return mean, self.actor_logstd.expand_as(mean).exp(), self.critic(hidden).squeeze(-1)


class DistributionalDQN(nn.Module):
    """C51: a distribution over atoms for each action, its expectation against a support."""

    def __init__(self, actions: int = 4, atoms: int = 11) -> None:
        super().__init__()
        self.actions, self.atoms = actions, atoms
        self.register_buffer("support", torch.linspace(-10, 10, atoms))
        self.net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.out = nn.Linear(64, actions * atoms)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = F.softmax(self.out(self.net(x)).view(-1, self.actions, self.atoms), dim=-1)
        return (p.clamp(min=1e-3) * self.support).sum(-1)


class AlphaZero(nn.Module):
    """A residual tower with a policy and a value head."""

    def __init__(self, width: int = 32, board: int = 5) -> None:
        super().__init__()
        self.stem = self._conv(3, width)
        self.blocks = nn.ModuleList(
            [nn.ModuleList([self._conv(width, width), self._conv(width, width)]) for _ in range(2)]
        )
        self.policy_conv, self.value_conv = self._conv(width, 4, 1), self._conv(width, 2, 1)
        self.policy = nn.Linear(4 * board * board, board * board + 1)
        self.value1, self.value2 = nn.Linear(2 * board * board, 32), nn.Linear(32, 1)

    def _conv(self, inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, board: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.relu(self.stem(board))
        for first, second in self.blocks:
            x = F.relu(x + second(F.relu(first(x))))
        policy = self.policy(torch.flatten(F.relu(self.policy_conv(x)), 1))
        value = F.relu(self.value1(torch.flatten(F.relu(self.value_conv(x)), 1)))
        return F.log_softmax(policy, dim=1), torch.tanh(self.value2(value))


class DecisionTransformer(nn.Module):
    """Returns, states and actions interleaved by stack and reshape; a causal mask with padding."""

    def __init__(self, dim: int = 48, max_timestep: int = 20) -> None:
        super().__init__()
        self.embed_rtg, self.embed_state = nn.Linear(1, dim), nn.Linear(7, dim)
        self.embed_action, self.embed_timestep = nn.Linear(3, dim), nn.Embedding(max_timestep, dim)
        self.embed_ln, self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.predict_action = nn.Sequential(nn.Linear(dim, 3), nn.Tanh())
        self.predict_state = nn.Linear(dim, 7)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
        weights = q @ k.transpose(-2, -1) * (d // 4) ** -0.5
        causal = torch.ones(t, t, dtype=torch.bool).tril()
        weights = weights.masked_fill(~causal, torch.finfo(x.dtype).min).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, t, d))

    def forward(
        self,
        rtg: torch.Tensor,
        states: torch.Tensor,
        actions: torch.Tensor,
        timesteps: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        b, t = states.shape[0], states.shape[1]
        time = self.embed_timestep(timesteps)
        tokens = (self.embed_rtg(rtg), self.embed_state(states), self.embed_action(actions))
        stacked = torch.stack([token + time for token in tokens], dim=1)
        x = self.embed_ln(stacked.permute(0, 2, 1, 3).reshape(b, 3 * t, -1))
        x = x + self.attend(self.ln1(x))
        x = x + self.mlp(self.ln2(x))
        x = x.reshape(b, t, 3, -1).permute(0, 2, 1, 3)
        return self.predict_action(x[:, 1]), self.predict_state(x[:, 2])


class MemoryNetwork(nn.Module):
    """Keys and values in parameters, read by a softmax over slots, three hops."""

    def __init__(self, slots: int = 20, dim: int = 48) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, dim), nn.Linear(dim, 5)
        self.keys = nn.Parameter(torch.randn(slots, dim) * 0.2)
        self.values = nn.Parameter(torch.randn(slots, dim) * 0.2)
        self.H = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = torch.tanh(self.first(x))
        for _ in range(3):
            u = self.H(u) + torch.softmax(u @ self.keys.t(), dim=-1) @ self.values
        return self.last(u)


def _episode() -> tuple[nn.Module, Any]:
    given = torch.randn(2, 5, 1), torch.randn(2, 5, 7), torch.randn(2, 5, 3)
    return DecisionTransformer().eval(), (*given, torch.randint(0, 20, (2, 5)))


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "dueling_dqn": lambda: (DuelingDQN().eval(), torch.rand(2, 4, 48, 48) * 255),
    "actor_critic": lambda: (ActorCritic().eval(), torch.randn(3, 11)),
    "c51": lambda: (DistributionalDQN().eval(), torch.randn(3, 8)),
    "alphazero": lambda: (AlphaZero().eval(), torch.randn(2, 3, 5, 5)),
    "decision_transformer": _episode,
    "memory_network": lambda: (MemoryNetwork().eval(), torch.randn(3, 12)),
}
