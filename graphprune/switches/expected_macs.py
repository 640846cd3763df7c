"""Expected multiplications of a network whose channels are open at random, differentiable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.choosing.cost import cost_model
from graphprune.labels.slots import Labels, Slot, apart


class ExpectedMacs(nn.Module):
    """Share of the dense MACs to expect when every channel is open with its own probability.

    For each contraction it is the product of the expected open shares of the channel dimensions of
    its index space, as :class:`graphprune.choosing.cost.CostModel` counts kept channels: with
    probabilities of 0 and 1 both agree. In between, channels are taken to be independent, which is
    exact for independent gates unless one group feeds and is fed by the same contraction
    (``x + conv(x)``): there the variance of its open share is left out, at most 1 / (4 D) of that
    contraction's MACs.

    Left out as well: what stands for whole rows only (attention heads) counts as open, and the
    balance that rectangular weights demand of rows is not asked for.

    Attributes:
        dense: the MACs with all channels open, as the cost model counts them.
    """

    index: torch.Tensor
    share: torch.Tensor
    segment: torch.Tensor
    factors: torch.Tensor
    weight: torch.Tensor

    def __init__(self, analysis: Analysis) -> None:
        """Lay the contractions of the analysed graph out as index tensors."""
        super().__init__()
        self._groups = {group.name: group.size for group in analysis.groups}
        cost = cost_model(analysis)
        self.dense = sum(cost.node_macs.values())
        layout = _Layout(analysis)
        for node, macs in cost.node_macs.items():
            products = analysis.context.products.get(node)
            parts = [(product.labels, float(product.size)) for product in products or ()]
            parts = parts or [(analysis.context.of(node), 1.0)]
            total = sum(size for _, size in parts)
            for labels, size in parts:
                layout.add(labels, macs / self.dense * size / total)
        for name, tensor in layout.tensors().items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, probabilities: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The expected share, scalar, float32.

        Args:
            probabilities: group name to open probabilities, (D,); missing ones are open.
        """
        device = next((p.device for p in probabilities.values()), self.share.device)
        opened = [torch.ones(1, device=device)]
        for name, size in self._groups.items():
            given = probabilities.get(name, opened[0][:0]).float()
            opened += [given, torch.ones(size - given.numel(), device=device)]
        self.to(device)
        elements = torch.cat(opened)[self.index].prod(-1) * self.share
        shares = torch.zeros(int(self.segment[-1]) + 1, device=device)
        shares = shares.index_add(0, self.segment, elements)
        return (shares[self.factors].prod(-1) * self.weight).sum()


class _Layout:
    """Open shares by cluster of dimensions, and the clusters that each product multiplies.

    Position 0 of the probabilities, and cluster 0, are always 1.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._position = np.zeros(analysis.classes + 1, dtype=np.int64)
        start = 1
        for group in analysis.groups:
            self._position[group.channels] = np.arange(start, start + group.size)
            start += group.size
        self._clusters: list[tuple[np.ndarray, np.ndarray]] = [
            (np.zeros((1, 1), dtype=np.int64), np.ones(1))
        ]
        self._known: dict[bytes, int] = {}
        self._products: list[tuple[list[int], float]] = []

    def add(self, labels: Labels, weight: float) -> None:
        """A product with labels over its index space, and its share of the dense MACs."""
        clusters = [self._cluster(slots) for slots in apart(labels)]
        self._products.append((clusters, weight))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The buffers of :class:`ExpectedMacs`."""
        return {
            "index": torch.from_numpy(_stacked([rows for rows, _ in self._clusters])),
            "share": torch.from_numpy(np.concatenate([s for _, s in self._clusters])).float(),
            "segment": torch.from_numpy(
                np.repeat(np.arange(len(self._clusters)), [len(s) for _, s in self._clusters])
            ),
            "factors": torch.from_numpy(
                _stacked([np.array([numbers], dtype=np.int64) for numbers, _ in self._products])
            ),
            "weight": torch.tensor([weight for _, weight in self._products]),
        }

    def _cluster(self, slots: list[Slot]) -> int:
        """Number of the cluster: which channels its elements need, and how many elements do."""
        needed = [self._position[self._analysis.slot_classes(slot)] for slot in slots]
        rows = np.stack([one.reshape(-1) for one in np.broadcast_arrays(*needed)], axis=1)
        rows.sort(axis=1)
        rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = 0  # a channel needed twice is needed once
        rows, counts = np.unique(rows, axis=0, return_counts=True)
        share = counts / counts.sum()
        key = repr(rows.shape).encode() + rows.tobytes() + share.tobytes()
        if key not in self._known:
            self._known[key] = len(self._clusters)
            self._clusters.append((rows, share))
        return self._known[key]


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    """Matrices of unlike widths under each other, filled up with 0."""
    width = max((one.shape[1] for one in rows), default=1)
    filled = [np.pad(one, ((0, 0), (0, width - one.shape[1]))) for one in rows]
    return np.concatenate(filled) if filled else np.zeros((0, 1), dtype=np.int64)
