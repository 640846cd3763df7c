"""Speed beside Torch-Pruning, growth with depth, and memory on a model without weights.

Every time is CPU time of one thread (the machine may be busy with other things), the least of
several runs after one to warm up; ours and theirs alternate in one process.

    python -m benchmarks.speed versus
    python -m benchmarks.speed growth
    python -m benchmarks.speed memory
"""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

import click

from benchmarks.conditions import RESULTS, append, conditions, markdown_table, set_up
from benchmarks.speed_growth import FAMILIES, growth
from benchmarks.speed_memory import LLAMAS
from benchmarks.speed_models import NAMES
from benchmarks.speed_versus import Versus, versus

PATH = RESULTS / "speed.jsonl"


@click.group()
def main() -> None:
    """Measure, and append records to benchmarks/results/speed.jsonl."""
    set_up(0, 1)


@main.command("versus")
@click.option("--model", "models", multiple=True, help="Only these; default: all.")
@click.option("--repeats", default=3, show_default=True)
def versus_command(models: tuple[str, ...], repeats: int) -> None:
    """Capture, analysis and shrinking beside Torch-Pruning's building and pruning."""
    found = []
    for name in models or NAMES:
        one = versus(name, repeats)
        append(PATH, {"part": "versus", **one.record(), **conditions(0)})
        click.echo(json.dumps(one.record()))
        found.append(one)
    click.echo(versus_table(found))


def versus_table(found: list[Versus]) -> str:
    """Seconds and ratios by model, medians last."""
    heads = ["model", "capture", "analyse", "score", "plan", "shrink", "theirs: build", "prune"]
    rows = [[one.model, *(f"{n:.2f}" for n in one.figures())] for one in found]
    middle = [
        median(one.ratio for one in found),
        median(one.ratio_without_capture for one in found),
    ]
    rows.append(["**median**", *[""] * 7, *(f"**{n:.2f}**" for n in middle)])
    return markdown_table([*heads, "ratio", "without capture"], rows)


@main.command("growth")
@click.option("--family", "families", multiple=True, type=click.Choice(list(FAMILIES)))
@click.option("--steps", default=4, show_default=True, help="How many depths, each twice the last.")
def growth_command(families: tuple[str, ...], steps: int) -> None:
    """Time by depth, and the factor at each doubling."""
    rows = []
    for family in families or FAMILIES:
        before: dict[str, float] = {}
        for depth, seconds in growth(family, steps):
            factors = {key: seconds[key] / before[key] for key in before}
            record = {"family": family, "depth": depth, "seconds": seconds, "factors": factors}
            append(PATH, {"part": "growth", **record, **conditions(0)})
            click.echo(json.dumps(record))
            rows.append(
                [family, depth]
                + [f"{seconds[key]:.2f}" for key in seconds]
                + [f"{factors[key]:.2f}" if factors else "" for key in seconds]
            )
            before = seconds
    heads = ["family", "depth", "capture", "analyse to shrink", "factor", "factor"]
    click.echo(markdown_table(heads, rows))


@main.command("memory")
@click.option("--model", "models", multiple=True, type=click.Choice(list(LLAMAS)))
@click.option("--layers", default=32, show_default=True)
def memory_command(models: tuple[str, ...], layers: int) -> None:
    """Capture, analysis and plan of a Llama on the meta device, each in a process of its own."""
    for name in models or LLAMAS:
        command = [sys.executable, "-m", "benchmarks.speed_memory", name, str(layers)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        record = json.loads(done.stdout.splitlines()[-1])
        append(PATH, {"part": "memory", **record, **conditions(0)})
        click.echo(json.dumps(record))


if __name__ == "__main__":
    main()
