"""Do channels that carry nothing rank last, at the default options and from how many examples?

Small networks trained on scikit-learn's digits. In each of their first three convolutions two
channels are planted that nothing reads, with large weights of their own, and one that its
nonlinearity silences. Counted are pairs of a planted channel and a live one in the wrong order;
live is a channel without which the network answers otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import click
import torch
from sklearn.datasets import load_digits
from torch import nn

from benchmarks.conditions import markdown_table, set_up
from benchmarks.switch_defaults import TRAINING, network, train
from graphprune import LearnConfig, analyse, capture, learn_switches
from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.criteria.base import Evidence, needs_data
from graphprune.registry import CRITERIA, SWITCHES
from graphprune.switches.placement import switch_sites

IGNORED, SILENT = (1, 4), 7
LARGE = 5.0
DEAD = 1e-3
"""Mean change of the outputs below which a channel that was not planted counts as dead."""

Data = list[tuple[tuple[torch.Tensor, ...], torch.Tensor | None]]


@dataclass(frozen=True)
class Planted:
    """A trained network and, by group, which channels were planted and which are live."""

    captured: Captured
    analysis: Analysis
    planted: dict[str, list[int]]
    live: dict[str, list[int]]

    def wrong(self, scores: dict[str, torch.Tensor]) -> int:
        """Pairs in the wrong order, ties among them."""
        return sum(
            int((scores[group][one] >= scores[group][self.live[group]]).sum())
            for group, channels in self.planted.items()
            for one in channels
        )

    @property
    def pairs(self) -> int:
        """How many there are."""
        return sum(len(one) * len(self.live[group]) for group, one in self.planted.items())


def planted(batch_norm: bool, images: torch.Tensor, labels: torch.Tensor) -> Planted:
    """Plant, then train around what was planted."""
    net = network(batch_norm)
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    for layer, reader in itertools.pairwise(convolutions):
        follower = net[list(net).index(layer) + 1]
        scaled = follower if isinstance(follower, nn.BatchNorm2d) else layer
        assert scaled.bias is not None
        with torch.no_grad():
            scaled.weight[list(IGNORED)] *= LARGE
            reader.weight[:, list(IGNORED)] = 0
            if scaled is follower:
                scaled.weight[SILENT] = 0
            scaled.bias[SILENT] = -100
        reader.weight.register_hook(_unread)
    train(net, images, labels)
    captured = capture(net, images[:2])
    analysis = analyse(captured.module)
    return Planted(captured, analysis, *_channels(net, convolutions[:-1], analysis, images))


def _unread(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient without what would let the ignored channels be read."""
    return gradient.index_fill(1, torch.tensor(IGNORED), 0)


def _channels(
    net: nn.Sequential, layers: Sequence[nn.Conv2d], analysis: Analysis, images: torch.Tensor
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Planted and live channels by group."""
    names = {id(module): name for name, module in net.named_modules()}
    groups = {group.name for group in analysis.groups}
    every, live = {}, {}
    with torch.no_grad():
        answers = net(images)
        for layer in layers:
            name = f"{names[id(layer)]}.weight"
            assert name in groups, f"no group {name}"
            behind = list(net)[list(net).index(layer) :]
            relu = next(module for module in behind if isinstance(module, nn.ReLU))
            every[name] = [*IGNORED, SILENT]
            live[name] = []
            for channel in range(layer.out_channels):
                hook = relu.register_forward_hook(
                    lambda _m, _i, out, channel=channel: out.index_fill(
                        1, torch.tensor([channel]), 0
                    )
                )
                change = float((net(images) - answers).abs().mean())
                hook.remove()
                if channel not in every[name] and change > DEAD:
                    live[name].append(channel)
                assert channel not in every[name] or change < DEAD
    return every, live


def ranking(name: str, network: Planted, data: Data, seed: int) -> dict[str, torch.Tensor]:
    """Scores of a switch or criterion as it is by default."""
    if name in CRITERIA.names():
        return CRITERIA.load(name)().score(Evidence(network.analysis, network.captured, data))
    method = SWITCHES.load(name)().prepared(network.analysis)
    config = LearnConfig(seed=seed, intervals=False)
    sites = switch_sites(network.analysis)
    return learn_switches(network.captured, sites, data, method, config=config).scores


def batches(images: torch.Tensor, labels: torch.Tensor, labelled: bool) -> Data:
    """As many examples a batch as the command line takes."""
    size = LearnConfig().batch_size(len(images), 64)
    parts = zip(images.split(size), labels.split(size), strict=True)
    return [((x,), y if labelled else None) for x, y in parts]


@click.command()
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1), show_default=True)
@click.option("--examples", multiple=True, type=int, default=(96, 600), show_default=True)
@click.option("--method", "methods", multiple=True, help="Default: all that look at data.")
@click.option("--threads", default=1, show_default=True, help="Torch threads.")
def main(
    seeds: tuple[int, ...], examples: tuple[int, ...], methods: tuple[str, ...], threads: int
) -> None:
    """Print pairs in the wrong order, over the networks of all seeds, with batch norm or not."""
    set_up(0, threads)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order][:TRAINING], labels[order][:TRAINING]
    made = []
    for seed in seeds:
        torch.manual_seed(seed)
        made += [(seed, planted(batch_norm, images, labels)) for batch_norm in (False, True)]
    measured = [name for name in CRITERIA.names() if needs_data(CRITERIA.load(name))]
    cases = [(count, labelled) for count in examples for labelled in (True, False)]
    rows = []
    for name in methods or (*SWITCHES.names(), *measured):
        wrong = [
            sum(
                network.wrong(
                    ranking(name, network, batches(images[:n], labels[:n], labelled), seed)
                )
                for seed, network in made
            )
            for n, labelled in cases
        ]
        rows.append((f"`{name}`", *map(str, wrong), str(sum(wrong))))
        click.echo(f"{name}: {wrong}", err=True)
    titles = [f"{n}, {'labels' if labelled else 'none'}" for n, labelled in cases]
    click.echo(markdown_table(("method", *titles, "all"), rows))
    click.echo(f"\nof {sum(network.pairs for _, network in made)} pairs a column")


if __name__ == "__main__":
    main()
