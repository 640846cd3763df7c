"""Cost of a step of learning switches beside a plain step of the same frozen model.

The two are measured in one run, in turns, so that a busy machine slows both alike; the figure is
the median of the ratios of neighbouring steps.

A switch step is what ``learn_switches`` does for every batch: forward and backward through the
switched model, the KL of all switches, and Adam's step. A plain step is forward and backward of
the original model with its weights frozen. Something must ask for a gradient there:

- ``first-affine`` (the stricter): the first one-dimensional parameter of the model, so that the
  backward pass goes as far down as it must for the first switch, and not further;
- ``input``: the input, which adds the first layer's own backward pass.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from benchmarks.conditions import RESULTS, append, conditions, set_up
from benchmarks.measure import milliseconds
from benchmarks.models import NAMES, build
from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import capture
from graphprune.switches.base import total_penalty
from graphprune.switches.dirichlet import Dirichlet, DirichletSwitch, Variant
from graphprune.switches.network import SwitchedNetwork
from graphprune.switches.placement import switch_sites
from graphprune.switches.sites import group_sizes

Step = Callable[[], None]


def plain_step(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, reach: str) -> Step:
    """Forward and backward of a frozen copy of ``model``; ``reach``: first-affine or input."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    inputs = inputs.clone()
    if reach == "input":
        leaf = inputs.requires_grad_()
    else:
        leaf = next(p for p in model.parameters() if p.ndim == 1).requires_grad_()

    def step() -> None:
        leaf.grad = None
        nn.functional.cross_entropy(model(inputs), labels).backward()
        assert leaf.grad is not None

    return step


def switch_step(
    model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, variant: Variant
) -> Step:
    """One joint learning step of all switches of ``model``, as ``learn_switches`` takes it."""
    captured = capture(model, (inputs[:2],))
    sites = switch_sites(analyse(captured.module))
    switches = {
        group: DirichletSwitch(size, Dirichlet(variant=variant))
        for group, size in group_sizes(sites).items()
    }
    network = SwitchedNetwork(captured, sites, switches, torch.device("cpu"))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        network.set_examples(((inputs,), {}))
        nn.functional.cross_entropy(network.module(inputs), labels).backward()
        (total_penalty(switches.values()) / 50_000).backward()
        optimiser.step()
        assert all(parameter.grad is not None for parameter in network.parameters())

    return step


def compare(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each step in each round; the order turns round by round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for step in steps.values():
        step()  # the first call allocates
    for number in range(rounds):
        for place in range(len(names)):
            name = names[(number + place) % len(names)]
            times[name].append(milliseconds(steps[name]))
    return times


@click.command()
@click.option("--model", "name", type=click.Choice(NAMES), default="resnet56", show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option(
    "--variant",
    type=click.Choice(["mean", "implicit", "per-example"]),
    default="mean",
    show_default=True,
)
@click.option("--rounds", default=31, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "switch_overhead.jsonl",
    show_default=False,
    help="JSON lines, appended to.",
)
def main(**options: Any) -> None:
    """Print and keep the cost of a switch step as a multiple of a plain step."""
    set_up(options["seed"], options["threads"])
    model, (inputs,) = build(options["name"], batch=options["batch"], seed=options["seed"])
    with torch.no_grad():
        labels = torch.randint(model(inputs[:1]).shape[1], (len(inputs),))
    steps = {
        "switch": switch_step(model, inputs, labels, options["variant"]),
        "first-affine": plain_step(model, inputs, labels, "first-affine"),
        "input": plain_step(model, inputs, labels, "input"),
    }
    times = compare(steps, options["rounds"])
    record: dict[str, Any] = {
        "model": options["name"],
        **{key: options[key] for key in ("batch", "variant", "rounds")},
        "milliseconds": {key: round(statistics.median(t), 2) for key, t in times.items()},
        "ratio": {
            key: round(
                statistics.median(a / b for a, b in zip(times["switch"], times[key], strict=True)),
                4,
            )
            for key in ("first-affine", "input")
        },
        **conditions(options["seed"]),
    }
    append(options["output"], record)
    click.echo(f"milliseconds {record['milliseconds']}, switch step / plain step {record['ratio']}")


if __name__ == "__main__":
    main()
