"""The benchmark that counts pairs of a planted channel and a live one in the wrong order."""

from __future__ import annotations

import torch

from benchmarks.planted_channels import IGNORED, SILENT, batches, planted, ranking


def test_networks_hold_what_was_planted_and_pairs_are_counted() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(256, 1, 8, 8), torch.randint(10, (256,))
    for batch_norm in (False, True):
        network = planted(batch_norm, images, labels)
        assert len(network.planted) == 3
        assert all(one == [*IGNORED, SILENT] for one in network.planted.values())
        sizes = {group.name: group.size for group in network.analysis.groups}
        assert all(0 < len(live) <= sizes[group] - 3 for group, live in network.live.items())
        right = {group: torch.ones(sizes[group]) for group in network.planted}
        for group, channels in network.planted.items():
            right[group][channels] = 0
        assert network.wrong(right) == 0
        assert network.wrong({group: 1 - scores for group, scores in right.items()}) == (
            network.pairs
        )
        assert network.wrong({group: scores * 0 for group, scores in right.items()}) == (
            network.pairs
        )
        data = batches(images[:96], labels[:96], labelled=True)
        assert len(data) == 6
        assert network.wrong(ranking("fisher", network, data, seed=0)) == 0
