"""What a search gains over the plain allocations at one budget, before and after fine-tuning.

LeNet-5 as ``make demo`` trains it. The search sees the training part alone, a tenth of it held out;
errors are those on test images that nothing has seen.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import click
import torch

import graphprune
from benchmarks.conditions import RESULTS, append, conditions, markdown_table, read, set_up
from benchmarks.data import Images, loader
from benchmarks.demo import digits, train
from benchmarks.measure import macs, widths
from benchmarks.training import error_percent
from graphprune import CompressConfig, FinetuneConfig, SearchConfig
from graphprune.choosing.ranking import RANKINGS
from graphprune.compressed import Compressed
from graphprune.training.finetune import finetune
from graphprune.training.objective import Objective

SEARCH = "search"


def compressed(
    model: torch.nn.Module, images: Images, way: str, target: str, config: SearchConfig
) -> Compressed:
    """The model cut to the target by one of the rankings or by a search, without fine-tuning."""
    x, y = images.normalise(images.pixels), images.labels
    if way == SEARCH:
        return graphprune.search(model, x[:2], target=target, data=(x, y), config=config)
    common = CompressConfig(seed=config.compress.seed, ranking=way, round_to=1, evaluate=False)
    result = graphprune.compress(model, x[:2], target=target, data=(x, y), config=common)
    assert isinstance(result, Compressed)
    return result


def measure(
    model: torch.nn.Module, sets: tuple[Images, Images], way: str, target: str, options: Any
) -> dict[str, Any]:
    """One way at one target; errors in per cent of the test images, before and after tuning."""
    images, test = sets
    config = SearchConfig(
        options["trials"], compress=CompressConfig(seed=options["seed"], round_to=1)
    )
    started = time.process_time()
    small = compressed(model, images, way, target, config).model
    record: dict[str, Any] = {
        "way": way,
        "target": target,
        "trials": options["trials"],
        "epochs": options["epochs"],
        "widths": widths(small),
        "macs": macs(small, images.normalise(images.pixels[:2])),
        "error_pruned": error_percent(small, test),
        "seconds": round(time.process_time() - started, 1),
    }
    batches = loader(images, 64, shuffle=True, seed=options["seed"])
    tuning = FinetuneConfig(epochs=options["epochs"], seed=options["seed"])
    finetune(small, batches, tuning, Objective(teacher=model))
    return {**record, "error": error_percent(small, test)}


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: each target's ways, means over the seeds."""
    rows = []
    keys = dict.fromkeys((r["target"], r["way"]) for r in records)
    for target, way in keys:
        found = [r for r in records if (r["target"], r["way"]) == (target, way)]
        means = {
            key: sum(r[key] for r in found) / len(found)
            for key in ("error_pruned", "error", "macs", "seconds")
        }
        shown = ", ".join("-".join(map(str, r["widths"])) for r in found)
        figures = (f"{means['error_pruned']:.2f}", f"{means['error']:.2f}", f"{means['macs']:.0f}")
        rows.append((target, way, len(found), *figures, f"{means['seconds']:.0f}", shown))
    heads = ("target", "allocation", "seeds", "error % when cut", "error % after fine-tuning")
    return markdown_table((*heads, "MACs", "CPU s", "widths by seed"), rows)


@click.command()
@click.option(
    "--target", "targets", multiple=True, default=("macs=0.2", "macs=0.08"), show_default=True
)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True)
@click.option("--trials", default=64, show_default=True)
@click.option("--epochs", default=2, show_default=True, help="Of fine-tuning, all alike.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "search_gain.jsonl",
    show_default=False,
    help="JSON lines, appended to; the table lands beside it as .md.",
)
def main(**given: Any) -> None:
    """Measure every way at every target; each seed trains a dense model of its own."""
    name, arrays = digits(bundled=False)
    sets = tuple(
        Images(
            torch.from_numpy(arrays[f"x_{split}"])[:, None],
            torch.from_numpy(arrays[f"y_{split}"]).long(),
            (0.0,),
            (1.0,),
        )
        for split in ("train", "test")
    )
    output: Path = given["output"]
    for seed in given["seeds"]:
        set_up(seed, given["threads"])
        model = train(arrays["x_train"], arrays["y_train"], 300, seed)
        dense_error = error_percent(model, sets[1])
        for target, way in itertools.product(given["targets"], (*RANKINGS, SEARCH)):
            options = {"seed": seed, "trials": given["trials"], "epochs": given["epochs"]}
            record = measure(model, (sets[0], sets[1]), way, target, options)
            more = {"data": name, "dense_error": dense_error, **conditions(seed)}
            append(output, {**more, **record})
            click.echo(f"seed {seed} {target} {way}: {record['error_pruned']:.2f} % cut, ")
            click.echo(f"  {record['error']:.2f} % after fine-tuning, {record['widths']}")
    text = table(read(output))
    output.with_suffix(".md").write_text(text)
    click.echo(text)


if __name__ == "__main__":
    main()
