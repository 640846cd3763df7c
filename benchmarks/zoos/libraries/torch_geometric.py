"""torch_geometric: its networks on graphs, clouds of points and molecules, small."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch_geometric import nn as graphs
from torch_geometric.nn import models

from benchmarks.zoos.libraries import Builder

NODES, EDGES, FEATURES, CLASSES = 24, 80, 12, 5
WIDTHS: dict[str, Any] = {"in_channels": FEATURES, "hidden_channels": 32, "out_channels": CLASSES}


def _edges() -> torch.Tensor:
    """Edges (2, EDGES) between random nodes; each node has one at least."""
    ring = torch.stack([torch.arange(NODES), (torch.arange(NODES) + 1) % NODES])
    return torch.cat([ring, torch.randint(0, NODES, (2, EDGES - NODES))], dim=1)


def _graph() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(NODES, FEATURES), _edges()


def _halves() -> torch.Tensor:
    """Which of two graphs each node belongs to."""
    return (torch.arange(NODES) >= NODES // 2).long()


def _model(name: str, /, *extra: torch.Tensor, **options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = getattr(models, name)(**(WIDTHS | options))
        return model, (*_graph(), *extra)

    return build


def _network(name: str, /, **options: Any) -> Builder:
    return _model(name, num_layers=2, **options)


class Stack(nn.Module):
    """Two convolutions of a kind, pooled for each graph where asked."""

    def __init__(self, first: nn.Module, second: nn.Module, width: int, pool: Any = None) -> None:
        super().__init__()
        self.first, self.second, self.pool = first, second, pool
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        """Classes of nodes, or of the graphs that they are pooled to."""
        x = torch.relu(self.first(x, edge_index))
        x = torch.relu(self.second(x, edge_index))
        if self.pool is not None:
            half = (torch.arange(x.shape[0]) >= x.shape[0] // 2).long()
            x = self.pool(x, half, size=2)
        return self.head(x)


def _convolutions(name: str, /, *, widening: int = 1, pool: Any = None, **options: Any) -> Builder:
    """A stack of two; ``widening`` is by how much outputs are wider than what was asked for."""

    def build() -> tuple[nn.Module, Any]:
        conv = getattr(graphs, name)
        first, second = conv(FEATURES, 32, **options), conv(32 * widening, 32, **options)
        return Stack(first, second, 32 * widening, pool), _graph()

    return build


class PointNet(nn.Module):
    """PointNet++ with its neighbours given: a layer for points and one for the cloud."""

    def __init__(self) -> None:
        super().__init__()
        self.local = graphs.PointNetConv(graphs.MLP([3 + 3, 16, 32]), graphs.MLP([32, 32]))
        self.further = graphs.PointNetConv(graphs.MLP([32 + 3, 32, 48]))
        self.head = graphs.MLP([48, 24, CLASSES], norm=None)

    def forward(self, position: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        """Classes of each of two clouds."""
        x = self.local(position, position, edge_index)
        x = self.further(x, position, edge_index)
        half = (torch.arange(x.shape[0]) >= x.shape[0] // 2).long()
        return self.head(graphs.global_max_pool(x, half, size=2))


class EdgeNet(nn.Module):
    """DGCNN with its neighbours given."""

    def __init__(self) -> None:
        super().__init__()
        self.first = graphs.EdgeConv(graphs.MLP([2 * FEATURES, 24, 24]), aggr="max")
        self.second = graphs.EdgeConv(graphs.MLP([48, 32]), aggr="max")
        self.mix = nn.Linear(24 + 32, 40)
        self.head = graphs.MLP([40, 24, CLASSES], norm=None)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        """Classes of each node."""
        first = self.first(x, edge_index)
        second = self.second(first, edge_index)
        return self.head(self.mix(torch.cat([first, second], dim=1)))


class Dense(nn.Module):
    """Two dense graph convolutions with DiffPool between them."""

    def __init__(self, conv: type[nn.Module]) -> None:
        super().__init__()
        self.assign, self.embed = conv(FEATURES, 6), conv(FEATURES, 32)
        self.after, self.head = conv(32, 24), nn.Linear(24, CLASSES)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        """Classes of graphs (batch, nodes, features) with adjacency (batch, nodes, nodes)."""
        groups = self.assign(x, adjacency)
        x = torch.relu(self.embed(x, adjacency))
        x, adjacency, _, _ = graphs.dense_diff_pool(x, adjacency, groups)
        return self.head(torch.relu(self.after(x, adjacency)).mean(dim=1))


def _dense(name: str) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        adjacency = (torch.rand(3, 10, 10) > 0.6).float()
        return Dense(getattr(graphs, name)), (torch.randn(3, 10, FEATURES), adjacency)

    return build


def _points() -> tuple[nn.Module, Any]:
    return PointNet(), (torch.randn(NODES, 3), _edges())


def _edge_net() -> tuple[nn.Module, Any]:
    return EdgeNet(), _graph()


def _deep() -> tuple[nn.Module, Any]:
    layers = [
        graphs.DeepGCNLayer(
            graphs.GENConv(32, 32, num_layers=2), graphs.LayerNorm(32), nn.ReLU(), "res+"
        )
        for _ in range(2)
    ]
    return Layered(layers), _graph()


class Layered(nn.Module):
    """A projection, layers of one width, and a head."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.embed, self.layers = nn.Linear(FEATURES, 32), nn.ModuleList(layers)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        """Classes of each node."""
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x, edge_index)
        return self.head(x)


def _transformer() -> tuple[nn.Module, Any]:
    layers = [
        graphs.GPSConv(32, graphs.GCNConv(32, 32), heads=4, attn_type="multihead") for _ in range(2)
    ]
    return Layered(layers), _graph()


class Bonds(nn.Module):
    """Every atom with each of the three after it in its molecule of six, and their distances."""

    def __init__(self) -> None:
        super().__init__()
        atoms = torch.arange(12)
        others = [(atoms + step) % 6 + atoms // 6 * 6 for step in (1, 2, 3)]
        self.register_buffer("pairs", torch.stack([torch.cat(others), atoms.repeat(3)]))

    def forward(self, position: torch.Tensor, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Pairs of atoms and how far apart they are; ``batch`` is as SchNet expects it."""
        first, second = self.pairs
        return self.pairs, (position[first] - position[second]).norm(dim=-1)


def _schnet() -> tuple[nn.Module, Any]:
    model = models.SchNet(
        hidden_channels=32,
        num_filters=24,
        num_interactions=2,
        num_gaussians=12,
        interaction_graph=Bonds(),
    )
    return model, (
        torch.randint(1, 9, (12,)),
        torch.randn(12, 3) * 2,
        (torch.arange(12) >= 6).long(),
    )


def _attentive() -> tuple[nn.Module, Any]:
    model = models.AttentiveFP(FEATURES, 32, CLASSES, edge_dim=4, num_layers=2, num_timesteps=2)
    return model, (*_graph(), torch.randn(EDGES, 4), _halves())


def _recommender() -> tuple[nn.Module, Any]:
    return models.LightGCN(NODES, 32, 2), _edges()


def _perceptron() -> tuple[nn.Module, Any]:
    return models.MLP([FEATURES, 32, 32, CLASSES]), torch.randn(NODES, FEATURES)


MODELS: dict[str, Builder] = {
    "mlp": _perceptron,
    "gcn": _network("GCN"),
    "gcn_jumping_knowledge": _network("GCN", jk="cat"),
    "gcn_lstm_knowledge": _network("GCN", jk="lstm"),
    "gcn_batch_norm": _network("GCN", norm="batch_norm"),
    "graph_norm": _network("GCN", norm="graph_norm"),
    "graphsage": _network("GraphSAGE"),
    "graphsage_max": _network("GraphSAGE", aggr="max"),
    "gin": _network("GIN"),
    "gat": _network("GAT", heads=4),
    "gat_v2": _network("GAT", heads=4, v2=True),
    "edge_cnn": _network("EdgeCNN"),
    "pna": _network(
        "PNA",
        aggregators=["mean", "max", "std"],
        scalers=["identity", "amplification"],
        deg=torch.tensor([0, 4, 8, 8, 4]),
    ),
    "graph_unet": _model("GraphUNet", depth=2),
    "pmlp": _network("PMLP"),
    "sgformer": _model("SGFormer", _halves()),
    "polynormer": _model("Polynormer", _halves(), local_layers=2, global_layers=1, heads=2),
    "linkx": _model("LINKX", num_nodes=NODES, num_layers=2),
    "schnet": _schnet,
    "attentive_fp": _attentive,
    "lightgcn": _recommender,
    "deep_gcn": _deep,
    "gps_transformer": _transformer,
    "pointnet": _points,
    "dgcnn": _edge_net,
    "dense_gcn": _dense("DenseGCNConv"),
    "dense_sage": _dense("DenseSAGEConv"),
    "dense_graph": _dense("DenseGraphConv"),
    "cheb": _convolutions("ChebConv", K=3),
    "tag": _convolutions("TAGConv", K=2),
    "arma": _convolutions("ARMAConv", num_stacks=2),
    "sg": _convolutions("SGConv", K=2),
    "graph_conv": _convolutions("GraphConv", pool=graphs.global_mean_pool),
    "local_extrema": _convolutions("LEConv"),
    "res_gated": _convolutions("ResGatedGraphConv", pool=graphs.global_add_pool),
    "transformer_conv": _convolutions("TransformerConv", widening=4, heads=4),
    "supergat": _convolutions("SuperGATConv", widening=2, heads=2),
    "cluster": _convolutions("ClusterGCNConv"),
    "film": _convolutions("FiLMConv"),
    "mixture": _convolutions("FeaStConv", heads=2),
    "general": _convolutions("GeneralConv"),
}
