"""Points, graphs and fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class STNkd(nn.Module):
    """A transformation of points found from the points: fxia22/pointnet.pytorch."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(k, 32, 1), nn.Conv1d(32, 64, 1)
        self.fc1, self.fc2 = nn.Linear(64, 32), nn.Linear(32, k * k)
        self.bn1, self.bn2, self.bn4 = nn.BatchNorm1d(32), nn.BatchNorm1d(64), nn.BatchNorm1d(32)
        self.k = k

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batchsize = x.size()[0]
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = torch.max(x, 2, keepdim=True)[0]
        x = x.view(-1, 64)
        x = self.fc2(F.relu(self.bn4(self.fc1(x))))
        iden = torch.eye(self.k).flatten().view(1, self.k * self.k).repeat(batchsize, 1)
        return (x + iden).view(-1, self.k, self.k)


class PointNet(nn.Module):
    """Segmentation: the global feature is repeated for every point."""

    def __init__(self) -> None:
        super().__init__()
        self.stn, self.fstn = STNkd(3), STNkd(32)
        self.conv1, self.conv2 = nn.Conv1d(3, 32, 1), nn.Conv1d(32, 96, 1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm1d(32), nn.BatchNorm1d(96), nn.BatchNorm1d(64)
        self.conv3, self.conv4 = nn.Conv1d(128, 64, 1), nn.Conv1d(64, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        n_pts = x.size()[2]
        x = torch.bmm(x.transpose(2, 1), self.stn(x)).transpose(2, 1)
        x = F.relu(self.bn1(self.conv1(x)))
        trans_feat = self.fstn(x)
        pointfeat = torch.bmm(x.transpose(2, 1), trans_feat).transpose(2, 1)
        x = torch.max(self.bn2(self.conv2(pointfeat)), 2, keepdim=True)[0].view(-1, 96)
        x = torch.cat([x.view(-1, 96, 1).repeat(1, 1, n_pts), pointfeat], 1)
        x = self.conv4(F.relu(self.bn3(self.conv3(x)))).transpose(2, 1).contiguous()
        return F.log_softmax(x.view(-1, 4), dim=-1).view(-1, n_pts, 4), x.argmax(-1)


def knn(x: torch.Tensor, k: int) -> torch.Tensor:
    inner = -2 * torch.matmul(x.transpose(2, 1), x)
    xx = torch.sum(x**2, dim=1, keepdim=True)
    return (-xx - inner - xx.transpose(2, 1)).topk(k=k, dim=-1)[1]


def get_graph_feature(x: torch.Tensor, k: int = 4) -> torch.Tensor:
    """As in WangYueFt/dgcnn: rows of a flattened batch are gathered by number."""
    batch_size, _, num_points = x.size()
    idx = knn(x, k=k)
    idx = (idx + torch.arange(0, batch_size).view(-1, 1, 1) * num_points).view(-1)
    num_dims = x.size(1)
    x = x.transpose(2, 1).contiguous()
    feature = x.view(batch_size * num_points, -1)[idx, :]
    feature = feature.view(batch_size, num_points, k, num_dims)
    x = x.view(batch_size, num_points, 1, num_dims).repeat(1, 1, k, 1)
    return torch.cat((feature - x, x), dim=3).permute(0, 3, 1, 2).contiguous()


class DGCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(6, 32, 1, bias=False), nn.BatchNorm2d(32))
        self.conv2 = nn.Sequential(nn.Conv2d(64, 48, 1, bias=False), nn.BatchNorm2d(48))
        self.conv3 = nn.Sequential(nn.Conv1d(80, 64, 1, bias=False), nn.BatchNorm1d(64))
        self.linear1, self.linear2 = nn.Linear(128, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch_size = x.size(0)
        x1 = F.leaky_relu(self.conv1(get_graph_feature(x)), 0.2).max(dim=-1, keepdim=False)[0]
        x2 = F.leaky_relu(self.conv2(get_graph_feature(x1)), 0.2).max(dim=-1, keepdim=False)[0]
        x = F.leaky_relu(self.conv3(torch.cat((x1, x2), dim=1)), 0.2)
        peak = F.adaptive_max_pool1d(x, 1).view(batch_size, -1)
        mean = F.adaptive_avg_pool1d(x, 1).view(batch_size, -1)
        return self.linear2(F.leaky_relu(self.linear1(torch.cat((peak, mean), 1))))


class GCN(nn.Module):
    """tkipf/pygcn: a weight of (in, out), and a product with the adjacency."""

    def __init__(self, sizes: tuple[int, ...] = (12, 64, 64, 5)) -> None:
        super().__init__()
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(a, b) / a**0.5) for a, b in pairs)
        self.biases = nn.ParameterList(nn.Parameter(torch.randn(b)) for _, b in pairs)

    def forward(self, x: torch.Tensor, adj: torch.Tensor) -> torch.Tensor:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.matmul(adj, torch.mm(x, weight)) + bias
            if i < 2:
                x = F.dropout(F.relu(x), 0.5, training=self.training)
        return F.log_softmax(x, dim=1)


class MessagePassing(nn.Module):
    """Messages along edges, summed with index_add and averaged with scatter_add."""

    def __init__(self, dim: int = 48) -> None:
        super().__init__()
        self.embedding, self.edge = nn.Embedding(9, dim), nn.Linear(4, dim)
        self.message, self.update = nn.Linear(3 * dim, 64), nn.GRUCell(64, dim)
        self.lin, self.readout = nn.Linear(dim, 64), nn.Linear(64 + dim, 3)

    def forward(
        self, z: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor
    ) -> torch.Tensor:
        row, col = edge_index
        x, e = self.embedding(z), F.relu(self.edge(edge_attr))
        for _ in range(2):
            m = F.relu(self.message(torch.cat([x[row], x[col], e], dim=-1)))
            out = torch.zeros(x.size(0), m.size(-1)).index_add(0, col, m)
            x = self.update(out, x)
        h = F.relu(self.lin(x))
        total = torch.zeros_like(h).scatter_add_(0, col.unsqueeze(-1).expand(-1, h.size(1)), h[row])
        degree = torch.zeros(h.size(0)).scatter_add_(0, col, torch.ones(col.size(0)))
        return self.readout(torch.cat([total / degree.clamp(min=1).unsqueeze(-1), x], 1))


class GAT(nn.Module):
    """gordicaleksa/pytorch-GAT, the version for edge lists: heads, additive scores, softmax."""

    def __init__(self, fin: int = 12, fout: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.fout = heads, fout
        self.proj = nn.Linear(fin, heads * fout, bias=False)
        self.source = nn.Parameter(torch.randn(1, heads, fout))
        self.target = nn.Parameter(torch.randn(1, heads, fout))
        self.bias, self.skip = nn.Parameter(torch.zeros(heads * fout)), nn.Linear(fin, heads * fout)
        self.mlp = nn.Sequential(nn.Linear(heads * fout, 64), nn.ELU(), nn.Linear(64, 5))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        src, dst = edge_index[0], edge_index[1]
        h = self.proj(x).view(-1, self.heads, self.fout)
        s, t = (h * self.source).sum(dim=-1), (h * self.target).sum(dim=-1)
        scores = F.leaky_relu(s.index_select(0, src) + t.index_select(0, dst), 0.2)
        scores = (scores - scores.max()).exp()
        index = dst.unsqueeze(-1).expand_as(scores)
        norm = torch.zeros(x.size(0), self.heads).scatter_add_(0, index, scores)
        alpha = (scores / (norm.index_select(0, dst) + 1e-16)).unsqueeze(-1)
        lifted = h.index_select(0, src) * alpha
        out = torch.zeros(x.size(0), self.heads, self.fout)
        out.scatter_add_(0, dst.view(-1, 1, 1).expand_as(lifted), lifted)
        out += self.skip(x).view(-1, self.heads, self.fout)
        return self.mlp(F.elu(out.view(-1, self.heads * self.fout) + self.bias))


class NeRF(nn.Module):
    """yenchenlin/nerf-pytorch: encoded positions, a skip in the middle, view directions late."""

    def __init__(self, width: int = 64, freqs: int = 4) -> None:
        super().__init__()
        self.freqs, self.skips = freqs, [2]
        ch, views = 3 + 6 * freqs, 3 + 6 * 2
        self.pts_linears = nn.ModuleList(
            [nn.Linear(ch, width)]
            + [nn.Linear(width + ch if i in self.skips else width, width) for i in range(4)]
        )
        self.views_linears = nn.ModuleList([nn.Linear(views + width, width // 2)])
        self.feature_linear, self.alpha_linear = nn.Linear(width, width), nn.Linear(width, 1)
        self.rgb_linear = nn.Linear(width // 2, 3)

    @staticmethod
    def embed(x: torch.Tensor, freqs: int) -> torch.Tensor:
        fns = [x]
        for freq in 2.0 ** torch.linspace(0.0, freqs - 1, steps=freqs):
            fns += [torch.sin(x * freq), torch.cos(x * freq)]
        return torch.cat(fns, -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        input_pts, input_views = torch.split(x, [3, 3], dim=-1)
        h = pts = self.embed(input_pts, self.freqs)
        for i, _ in enumerate(self.pts_linears):
            h = F.relu(self.pts_linears[i](h))
            if i in self.skips:
                h = torch.cat([pts, h], -1)
        alpha = self.alpha_linear(h)
        h = torch.cat([self.feature_linear(h), self.embed(input_views, 2)], -1)
        for layer in self.views_linears:
            h = F.relu(layer(h))
        return torch.cat([self.rgb_linear(h), alpha], -1)


class Siren(nn.Module):
    """vsitzmann/siren with a hypernetwork that modulates each layer by phase and frequency."""

    def __init__(self, width: int = 64, omega: float = 30.0) -> None:
        super().__init__()
        sizes = [2, width, width, width]
        self.net = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        for i, layer in enumerate(self.net):
            bound = 1 / layer.in_features if i == 0 else math.sqrt(6 / layer.in_features) / omega
            nn.init.uniform_(layer.weight, -bound, bound)
        self.omega, self.last = omega, nn.Linear(width, 3)
        self.hyper = nn.Sequential(nn.Linear(8, 48), nn.LeakyReLU(0.2), nn.Linear(48, 6 * width))

    def forward(self, coords: torch.Tensor, z: torch.Tensor) -> dict[str, torch.Tensor]:
        freq, phase = self.hyper(z).split(3 * 64, dim=-1)
        x, start = coords, 0
        for layer in self.net:
            x = layer(x)
            end = start + x.shape[-1]
            scale = freq[..., start:end].unsqueeze(1).expand_as(x) * 0.1 + 1
            x = torch.sin(self.omega * 0.1 * scale * x + phase[..., start:end].unsqueeze(1))
            start = end
        return {"model_in": coords, "model_out": self.last(x)}


class EGNN(nn.Module):
    """vgsatorras/egnn, dense: squared distances join the features of every pair."""

    def __init__(self, dim: int = 48, hidden: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(5, dim)
        self.edge_mlp = nn.Sequential(
            nn.Linear(2 * dim + 1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.coord_mlp = nn.Sequential(
            nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1, bias=False)
        )
        self.node_mlp = nn.Sequential(
            nn.Linear(dim + hidden, hidden), nn.SiLU(), nn.Linear(hidden, dim)
        )
        self.out = nn.Linear(dim, 1)

    def forward(self, h: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.embed(h)
        b, n, d = h.shape
        rel = x[:, :, None, :] - x[:, None, :, :]
        dist = (rel**2).sum(-1, keepdim=True)
        i, j = h[:, :, None, :].expand(b, n, n, d), h.unsqueeze(1).expand(b, n, n, d)
        m = self.edge_mlp(torch.cat([i, j, dist], dim=-1))
        mask = ~torch.eye(n, dtype=torch.bool)
        m = m * mask[None, :, :, None]
        x = x + (rel / (dist.sqrt() + 1) * self.coord_mlp(m)).mean(dim=2)
        h = h + self.node_mlp(torch.cat((h, m.sum(dim=-2)), -1))
        return self.out(torch.where(h > 0, h, 0.1 * h)).squeeze(-1), x


def _edges(nodes: int = 10) -> torch.Tensor:
    ring = torch.arange(nodes)
    return torch.stack((torch.cat((ring, ring)), torch.cat((ring.roll(1), ring.roll(-3)))))


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "pointnet_tnet": lambda: (PointNet(), torch.randn(3, 3, 20)),
    "dgcnn_knn": lambda: (DGCNN(), torch.randn(2, 3, 16)),
    "gcn_adjacency": lambda: (GCN(), (torch.randn(10, 12), torch.rand(10, 10))),
    "message_passing_index_add": lambda: (
        MessagePassing(),
        (torch.arange(10) % 9, _edges(), torch.randn(20, 4)),
    ),
    "graph_attention_edges": lambda: (GAT(), (torch.randn(10, 12), _edges())),
    "nerf_skip": lambda: (NeRF(), torch.randn(32, 6)),
    "siren_hypernetwork": lambda: (Siren(), (torch.rand(2, 20, 2), torch.randn(2, 8))),
    "egnn_pairs": lambda: (EGNN(), (torch.randn(2, 7, 5), torch.randn(2, 7, 3))),
}
