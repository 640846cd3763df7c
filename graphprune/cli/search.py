"""``graphprune search``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphprune.cli.compress import Output, compress, deliver_to, read_request

# The search tries every ranking; the variants of one method are given with its name.
_NOT_HERE = {"target", "method", "data", "ranking", "variant", "switch_scale"}
_SHARED = [option for option in compress.params if option.name not in _NOT_HERE]


@click.command(params=_SHARED)
@click.option(
    "--target",
    default="macs=0.5",
    show_default=True,
    help="What stays: macs=, params= or channels= a fraction (0.5 or 50%), of the whole model.",
)
@click.option("--data", required=True, help="Labelled or not; part is held out. See compress.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("auto",),
    show_default=True,
    help="How channels are ranked, see compress; given several times, the best of all wins.",
)
@click.option("--trials", default=64, show_default=True, help="Allocations to try.")
@click.option(
    "--examples",
    default=2000,
    show_default=True,
    help="Held-out examples that each is judged on; the best few are judged on all.",
)
def search(
    output: str, quiet: bool, overwrite: bool, no_onnx: bool, no_latency: bool, **options: Any
) -> None:
    """Try many ways to share the budget of MODEL among its channel groups; deliver the best.

    Channels are ranked once by each method. Every allocation tried meets the budget and is judged
    on held-out data without fine-tuning. What wins is proved, fine-tuned if asked for, and written
    as compress writes it, with a table of the best allocations in report.json.

    \b
    Examples:
      graphprune search model.pt2 --data train.npz --target macs=0.3 -o out/
      graphprune search model.pt2 --data train.npz --method dirichlet --method taylor -o out/
      graphprune search model.pt2 --data train.npz --trials 200 --finetune-epochs 3 -o out/
    """
    place = Output(Path(output), overwrite, not no_onnx, not no_latency, quiet)
    deliver_to(place, lambda progress: _run(progress, onnx=not no_onnx, **options))


def _run(progress: Any, onnx: bool, **given: Any) -> Any:
    from graphprune.searching.search import SearchConfig, budget_of
    from graphprune.searching.search import search as run

    target = budget_of(given["target"])
    SearchConfig(given["trials"], given["examples"])  # refused before the long work
    source, common = read_request(given, onnx, progress)
    config = SearchConfig(given["trials"], given["examples"], common.pop("config"))
    return run(
        source.loaded.model,
        source.inputs,
        target=target,
        method=given["methods"],
        config=config,
        **common,
    )
