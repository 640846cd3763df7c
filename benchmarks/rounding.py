"""What rounded widths are worth: latency of ONNX files at one budget of MACs.

Each network is cut to the same share of its MACs with widths of any size, as compress rounds them
by itself, and with multiples of 8 and 16. The files then take turns on onnxruntime's CPU provider,
one thread, one example.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import onnxruntime
import torch

from benchmarks.conditions import RESULTS, append, conditions, markdown_table, read, set_up
from benchmarks.coverage_worker import build
from graphprune import CompressConfig, compress

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
    sessions, reached = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for to, step in ROUNDED.items():
            model, inputs = build("torchvision", name)
            config = CompressConfig(round_to=step, ranking=ranking)
            result = compress(model, inputs, method="l2", target=target, config=config)
            folder = result.save(Path(scratch) / to, latency=False)
            sessions[to] = _session(folder / "model.onnx")
            reached[to] = round(float(result.stages.choice.reached), 4)
        (example,) = inputs if isinstance(inputs, tuple) else (inputs,)
        feed = {sessions["1"].get_inputs()[0].name: torch.randn(1, *example.shape[1:]).numpy()}
        times = _in_turns(sessions, feed, repeats)
    return {
        "network": name,
        "target": target,
        "ranking": ranking,
        "repeats": repeats,
        "reached": reached,
        "ms": {to: round(1000 * statistics.median(values), 2) for to, values in times.items()},
    }


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _in_turns(
    sessions: dict[str, onnxruntime.InferenceSession], feed: dict[str, np.ndarray], repeats: int
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {to: [] for to in sessions}
    for number in range(repeats + 3):
        for to, session in sessions.items():
            started = time.perf_counter()
            session.run(None, feed)
            if number >= 3:  # the first ones warm up
                times[to].append(time.perf_counter() - started)
    return times


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
