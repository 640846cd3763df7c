"""What rounded widths are worth: latency of ONNX files at one budget of MACs.

Each network is cut to the same share of its MACs with widths of any size, as compress rounds them
by itself, and with multiples of 8 and 16. The files then take turns on onnxruntime's CPU provider,
one thread, one example.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.conditions import RESULTS, append, conditions, markdown_table, read, set_up
from benchmarks.coverage_worker import build
from graphprune import CompressConfig, compress
from graphprune.delivery.measure import latencies
from graphprune.graph.trees import Inputs
from graphprune.proof.onnxrun import OnnxModel

NETWORKS = (
    "resnet50",
    "mobilenet_v2",
    "efficientnet_b0",
    "convnext_tiny",
    "densenet121",
    "vgg11_bn",
)
ROUNDED: dict[str, int | None] = {"1": 1, "auto": None, "8": 8, "16": 16}  # --round-to


def row(name: str, target: str, ranking: str, repeats: int) -> dict[str, object]:
    """Milliseconds (median) and the share of MACs reached, by what widths were rounded to."""
    calls, reached = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for to, step in ROUNDED.items():
            model, pictures = build("torchvision", name)
            config = CompressConfig(round_to=step, ranking=ranking)
            result = compress(model, pictures, method="l2", target=target, config=config)
            folder = result.save(Path(scratch) / to, latency=False)
            calls[to] = _call(folder / "model.onnx", ((pictures[:1],), {}))
            reached[to] = round(float(result.stages.choice.reached), 4)
        times = latencies(calls, batch=1, repeats=repeats, seconds=math.inf)
    return {
        "network": name,
        "target": target,
        "ranking": ranking,
        "repeats": repeats,
        "reached": reached,
        "ms": {to: round(latency.median_ms, 2) for to, latency in times.items()},
    }


def _call(file: Path, inputs: Inputs) -> Callable[[], object]:
    session = OnnxModel(file)
    return functools.partial(session.run, session.feed(inputs))


def table(records: list[dict[str, object]]) -> str:
    """Markdown: milliseconds, and how many times faster than with widths of any size."""
    rounded = list(ROUNDED)[1:]
    heads = ("network", "ranking", "--round-to 1", *(f"--round-to {to}" for to in rounded))
    lines = []
    for record in records:
        taken: dict[str, float] = record["ms"]  # type: ignore[assignment]
        by = [f"{taken[to]:.1f} ms, {taken['1'] / taken[to]:.2f}x faster" for to in rounded]
        lines.append((record["network"], record["ranking"], f"{taken['1']:.1f} ms", *by))
    return markdown_table(heads, lines)


@click.command()
@click.option("--network", "networks", multiple=True, default=NETWORKS, help="Of torchvision.")
@click.option("--target", default="macs=0.4", show_default=True)
@click.option("--ranking", default="local", show_default=True)
@click.option("--repeats", default=30, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "rounding.jsonl",
    help="JSON lines; the table lands beside it as .md.",
)
def main(
    networks: tuple[str, ...], target: str, output: Path, seed: int, threads: int, **how: int | str
) -> None:
    """Time networks with and without rounded widths.

    Example: python -m benchmarks.rounding --network resnet50
    """
    set_up(seed, threads)
    for name in networks:
        append(
            output, row(name, target, str(how["ranking"]), int(how["repeats"])) | conditions(seed)
        )
    text = table(read(output))
    output.with_suffix(".md").write_text(text)
    click.echo(text)


if __name__ == "__main__":
    main()
