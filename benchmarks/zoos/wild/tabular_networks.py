"""Networks for tables and recommendations: embeddings for each column, crosses, feature tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

FIELDS, NUMBERS = (7, 11, 5, 13), 6


class EntityEmbeddings(nn.Module):
    """fastai's tabular model: an embedding of its own size for each column, batch norms, MLP."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(n, min(50, (n + 1) // 2)) for n in FIELDS]
        self.embeds = nn.ModuleList([nn.Embedding(n, d) for n, d in sizes])
        self.emb_drop, self.bn_cont = nn.Dropout(0.1), nn.BatchNorm1d(NUMBERS)
        total = sum(d for _, d in sizes) + NUMBERS
        layers: list[nn.Module] = []
        for a, b in ((total, 64), (64, 32)):
            layers += [nn.Linear(a, b), nn.ReLU(inplace=True), nn.BatchNorm1d(b), nn.Dropout(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(32, 2))

    def forward(self, x_cat: torch.Tensor, x_cont: torch.Tensor) -> torch.Tensor:
        x = [e(x_cat[:, i]) for i, e in enumerate(self.embeds)]
        x = self.emb_drop(torch.cat(x, 1))
        return self.layers(torch.cat([x, self.bn_cont(x_cont)], 1))


class FeaturesEmbedding(nn.Module):
    """One table for all fields, with offsets."""

    offsets: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sum(FIELDS), dim)
        starts = torch.tensor([0, *FIELDS[:-1]]).cumsum(0)
        self.register_buffer("offsets", starts.unsqueeze(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embedding(x + self.offsets)


class DeepFM(nn.Module):
    """A linear part, a factorisation machine, and a deep part, summed."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.linear, self.embedding = FeaturesEmbedding(1), FeaturesEmbedding(dim)
        self.bias = nn.Parameter(torch.zeros((1,)))
        self.mlp = nn.Sequential(
            *(nn.Linear(len(FIELDS) * dim, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        embed_x = self.embedding(x)
        square_of_sum = torch.sum(embed_x, dim=1) ** 2
        sum_of_square = torch.sum(embed_x**2, dim=1)
        fm = 0.5 * torch.sum(square_of_sum - sum_of_square, dim=1, keepdim=True)
        linear = torch.sum(self.linear(x), dim=1) + self.bias
        deep = self.mlp(embed_x.view(-1, len(FIELDS) * embed_x.shape[-1]))
        return torch.sigmoid((linear + fm + deep).squeeze(1))


class DLRM(nn.Module):
    """Bottom MLP, embedding bags, dot products of all pairs, top MLP."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.emb_l = nn.ModuleList([nn.EmbeddingBag(n, dim, mode="sum") for n in FIELDS])
        self.bot_l = nn.Sequential(nn.Linear(NUMBERS, 48), nn.ReLU(), nn.Linear(48, dim), nn.ReLU())
        pairs = (len(FIELDS) + 1) * len(FIELDS) // 2
        self.top_l = nn.Sequential(
            nn.Linear(dim + pairs, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid()
        )

    def forward(self, dense_x: torch.Tensor, bags: torch.Tensor) -> torch.Tensor:
        x = self.bot_l(dense_x)
        ly = [emb(bags[:, i]) for i, emb in enumerate(self.emb_l)]
        batch_size, d = x.shape
        T = torch.cat([x, *ly], dim=1).view((batch_size, -1, d))
        Z = torch.bmm(T, torch.transpose(T, 1, 2))
        _, ni, nj = Z.shape
        li, lj = torch.tril_indices(ni, nj, offset=-1)
        return self.top_l(torch.cat([x, Z[:, li, lj]], dim=1))


class DCN(nn.Module):
    """Deep and cross: v1 with vectors, v2 with matrices, beside a deep tower."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.embedding = FeaturesEmbedding(dim)
        size = len(FIELDS) * dim
        self.w = nn.ModuleList([nn.Linear(size, 1, bias=False) for _ in range(2)])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros((size,))) for _ in range(2)])
        self.full = nn.ModuleList([nn.Linear(size, size) for _ in range(2)])
        self.deep = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.combine = nn.Linear(2 * size + 32, 1)

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        x0 = self.embedding(fields).flatten(1)
        x = v2 = x0
        for w, b, full in zip(self.w, self.b, self.full, strict=True):
            x = x0 * w(x) + b + x
            v2 = x0 * full(v2) + v2
        return self.combine(torch.cat([x, v2, self.deep(x0)], dim=1))


class FTTransformer(nn.Module):
    """A weight for every feature makes it a token; a CLS token goes first (rtdl)."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(NUMBERS + 1, dim))
        self.bias = nn.Parameter(torch.randn(NUMBERS + len(FIELDS), dim))
        self.category_embeddings = FeaturesEmbedding(dim)
        self.layers = nn.ModuleList()
        for _ in range(2):
            parts = {f"W_{n}": nn.Linear(dim, dim) for n in "qkv"} | {"W_out": nn.Linear(dim, dim)}
            parts |= {"linear0": nn.Linear(dim, 96), "linear1": nn.Linear(48, dim)}
            self.layers.append(
                nn.ModuleDict({**parts, "n0": nn.LayerNorm(dim), "n1": nn.LayerNorm(dim)})
            )
        self.last_normalization, self.head = nn.LayerNorm(dim), nn.Linear(dim, 3)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        b, n, d = x.shape
        return x.reshape(b, n, 4, d // 4).transpose(1, 2).reshape(b * 4, n, d // 4)

    def forward(self, x_num: torch.Tensor, x_cat: torch.Tensor) -> torch.Tensor:
        ones = torch.ones(len(x_num), 1, device=x_num.device)
        x = self.weight[None] * torch.cat([ones, x_num], dim=1)[:, :, None]
        x = torch.cat([x, self.category_embeddings(x_cat)], dim=1)
        x = x + torch.cat([torch.zeros(1, self.bias.shape[1]), self.bias])[None]
        b, n, d = x.shape
        for layer in self.layers:
            r = layer["n0"](x)
            q, k, v = (self._split(layer[f"W_{name}"](r)) for name in "qkv")
            attention = F.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1)
            r = (attention @ v).reshape(b, 4, n, d // 4).transpose(1, 2).reshape(b, n, d)
            x = x + layer["W_out"](r)
            a, g = layer["linear0"](layer["n1"](x)).chunk(2, dim=-1)
            x = x + layer["linear1"](a * F.relu(g))
        return self.head(F.relu(self.last_normalization(x[:, 0])))


class TabNet(nn.Module):
    """Steps of attentive masks (sparsemax) with prior scales, GLU feature transformers."""

    def __init__(self, n_d: int = 16, n_a: int = 16, steps: int = 3, inputs: int = 12) -> None:
        super().__init__()
        self.n_d, self.inputs = n_d, inputs
        self.initial_bn = nn.BatchNorm1d(inputs)
        self.shared = nn.Linear(inputs, 2 * (n_d + n_a), bias=False)
        self.own = nn.ModuleList([nn.Linear(n_d + n_a, 2 * (n_d + n_a)) for _ in range(steps + 1)])
        self.att = nn.ModuleList([nn.Linear(n_a, inputs, bias=False) for _ in range(steps)])
        self.att_bn = nn.ModuleList([nn.BatchNorm1d(inputs) for _ in range(steps)])
        self.final_mapping = nn.Linear(n_d, 4, bias=False)

    def sparsemax(self, x: torch.Tensor) -> torch.Tensor:
        x = x - x.max(dim=-1, keepdim=True)[0]
        ordered = torch.sort(x, dim=-1, descending=True)[0]
        k = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
        cumulative = ordered.cumsum(-1) - 1
        support = (k * ordered > cumulative).sum(-1, keepdim=True)
        tau = cumulative.gather(-1, support - 1) / support.to(x.dtype)
        return torch.clamp(x - tau, min=0)

    def transform(self, x: torch.Tensor, step: int) -> torch.Tensor:
        y = F.glu(self.shared(x))
        return (y + F.glu(self.own[step](y))) * 0.5**0.5

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.initial_bn(x)
        prior = torch.ones_like(x)
        att = self.transform(x, 0)[:, self.n_d :]
        total: Any = 0
        loss: Any = 0
        for step, (fc, bn) in enumerate(zip(self.att, self.att_bn, strict=True)):
            mask = self.sparsemax(bn(fc(att)) * prior)
            loss = loss + torch.mean(torch.sum(mask * torch.log(mask + 1e-15), dim=1))
            prior = (1.3 - mask) * prior
            out = self.transform(mask * x, step + 1)
            total = total + F.relu(out[:, : self.n_d])
            att = out[:, self.n_d :]
        return self.final_mapping(total), loss


class NCF(nn.Module):
    """NeuMF: a product of embeddings beside an MLP of them."""

    def __init__(self) -> None:
        super().__init__()
        self.user_gmf, self.item_gmf = nn.Embedding(20, 24), nn.Embedding(30, 24)
        self.user_mlp, self.item_mlp = nn.Embedding(20, 32), nn.Embedding(30, 32)
        self.mlp = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU())
        self.predict_layer = nn.Linear(48, 1)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        gmf = self.user_gmf(user) * self.item_gmf(item)
        mlp = self.mlp(torch.cat((self.user_mlp(user), self.item_mlp(item)), -1))
        return self.predict_layer(torch.cat((gmf, mlp), -1)).view(-1)


class TwoTower(nn.Module):
    """Two towers, bags of tokens on one side, unit vectors, a learned temperature; dict in."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 32))
        self.words = nn.EmbeddingBag(50, 48, mode="mean")
        self.item = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 64), nn.ELU(), nn.Linear(64, 32))
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        user = F.normalize(self.user(batch["user"]), dim=-1)
        item = F.normalize(self.item(self.words(batch["title"])), p=2, dim=1)
        return {"scores": user @ item.t() * self.temperature.exp(), "cosine": (user * item).sum(1)}


class AutoInt(nn.Module):
    """Self-attention over fields with residuals, relu, flatten; TabTransformer's columns."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.embedding, self.columns = FeaturesEmbedding(dim), nn.Embedding(len(FIELDS), dim)
        self.atten_embedding = nn.Linear(dim, 32)
        self.self_attns = nn.ModuleList([nn.MultiheadAttention(32, 2) for _ in range(2)])
        self.v_res, self.attn_fc = nn.Linear(dim, 32), nn.Linear(32 * len(FIELDS), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        embed_x = self.embedding(x) + self.columns.weight
        cross_term = self.atten_embedding(embed_x).transpose(0, 1)
        for self_attn in self.self_attns:
            cross_term, _ = self_attn(cross_term, cross_term, cross_term)
        cross_term = F.relu(cross_term.transpose(0, 1) + self.v_res(embed_x)).contiguous()
        return self.attn_fc(cross_term.view(-1, 32 * len(FIELDS)))


def _fields(batch: int = 3) -> torch.Tensor:
    return torch.stack([torch.randint(0, n, (batch,)) for n in FIELDS], 1)


def _bags() -> torch.Tensor:
    return torch.randint(0, min(FIELDS), (3, len(FIELDS), 2))


def _towers() -> tuple[nn.Module, Any]:
    batch = {"user": torch.randn(3, 10), "title": torch.randint(0, 50, (3, 6))}
    return TwoTower().eval(), (batch,)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "entity_embeddings": lambda: (EntityEmbeddings().eval(), (_fields(), torch.randn(3, NUMBERS))),
    "deepfm": lambda: (DeepFM().eval(), _fields()),
    "dlrm": lambda: (DLRM().eval(), (torch.randn(3, NUMBERS), _bags())),
    "dcn": lambda: (DCN().eval(), _fields()),
    "ft_transformer": lambda: (FTTransformer().eval(), (torch.randn(3, NUMBERS), _fields())),
    "tabnet": lambda: (TabNet().eval(), torch.randn(4, 12)),
    "neumf": lambda: (NCF().eval(), (torch.randint(0, 20, (3,)), torch.randint(0, 30, (3,)))),
    "two_tower": _towers,
    "autoint": lambda: (AutoInt().eval(), _fields()),
}
