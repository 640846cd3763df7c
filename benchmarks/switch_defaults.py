"""How the defaults of switch learning were chosen: accuracy right after cutting, no fine-tuning.

Small networks on scikit-learn's digits, half of every layer's channels cut, for each setting of
variant, mass and KL weight, with labels and without, beside the L2 norm and random scores.
"""

from __future__ import annotations

import statistics

import click
import torch
from sklearn.datasets import load_digits
from torch import nn

from benchmarks.conditions import markdown_table, set_up
from graphprune import LearnConfig, MaskedReference, analyse, capture, choose, learn_switches
from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import Evidence
from graphprune.criteria.magnitude import L2
from graphprune.criteria.random import Random
from graphprune.switches.dirichlet import Dirichlet, Variant
from graphprune.switches.placement import switch_sites

TRAINING = 1200
WIDTHS = (16, 32, 32, 32)


def network(batch_norm: bool) -> nn.Sequential:
    """Four 3x3 convolutions and a linear layer, with batch norm or without."""
    layers: list[nn.Module] = []
    inputs = 1
    for width in WIDTHS:
        layers.append(nn.Conv2d(inputs, width, 3, padding=1))
        layers.extend([nn.BatchNorm2d(width)] if batch_norm else [])
        layers.append(nn.ReLU())
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def train(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int = 12) -> None:
    """Adam with a one-cycle schedule, batches of 64."""
    steps = epochs * (len(images) // 64 + 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    net.eval()


def settings() -> dict[str, tuple[bool, Dirichlet, LearnConfig]]:
    """By name: whether labels are used, the switch, and how it is learned."""
    found = {}
    for labelled in (True, False):
        variants: tuple[Variant, ...] = ("mean", "per-example")
        for variant in variants:
            for mass in (1.0, 0.5, 0.25):
                for weight in (1.0, 0.0):
                    if variant == "mean" and not labelled and mass == 1:
                        continue  # the uniform switch reproduces the original: nothing to learn
                    name = f"{variant}, mass {mass:g}, KL {weight:g}"
                    method = Dirichlet(variant=variant, mass=mass, lr=0.05)
                    config = LearnConfig(kl_weight=weight, epochs=2)
                    name += ", labels" if labelled else ", no labels"
                    found[name] = labelled, method, config
    return found


def accuracy(
    analysis: Analysis, scores: dict[str, torch.Tensor], images: torch.Tensor, labels: torch.Tensor
) -> float:
    """Of the masked network, half of every group's channels kept."""
    keep = choose(analysis, scores, "channels=0.5").plan.keep(analysis)
    predicted = MaskedReference(analysis, keep)(images).argmax(1)
    return float((predicted == labels).float().mean())


@click.command()
@click.option("--seeds", default=4, show_default=True, help="Networks per kind.")
@click.option("--threads", default=1, show_default=True, help="Torch threads.")
def main(seeds: int, threads: int) -> None:
    """Print the table of mean accuracies in per cent."""
    set_up(0, threads)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    seen, held = slice(TRAINING), slice(TRAINING, None)
    results: dict[str, dict[bool, list[float]]] = {}
    for batch_norm in (True, False):
        for seed in range(seeds):
            torch.manual_seed(seed)
            net = network(batch_norm)
            train(net, images[seen], labels[seen])
            captured = capture(net, images[:2])
            analysis = analyse(captured.module)
            evidence = Evidence(analysis, seed=seed)
            scores = {"l2": L2().score(evidence), "random": Random().score(evidence)}
            for name, (labelled, method, config) in settings().items():
                batches = [
                    ((x,), y if labelled else None)
                    for x, y in zip(images[seen].split(50), labels[seen].split(50), strict=True)
                ]
                sites = switch_sites(analysis)
                learned = learn_switches(captured, sites, batches, method, config=config)
                scores[name] = learned.scores
            for name, values in scores.items():
                reached = accuracy(analysis, values, images[held], labels[held])
                results.setdefault(name, {}).setdefault(batch_norm, []).append(100 * reached)
            click.echo(f"batch norm {batch_norm}, seed {seed}: done", err=True)
    rows = [
        (name, *(f"{statistics.mean(kinds[bn]):.1f}" for bn in (True, False)))
        for name, kinds in results.items()
    ]
    click.echo(markdown_table(("setting", "with batch norm", "without"), rows))


if __name__ == "__main__":
    main()
