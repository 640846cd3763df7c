"""Figures 1 and 4 of "Dirichlet Pruning for Neural Network Compression": what channels respond to.

Needs the dense model first: ``python -m benchmarks.baselines lenet5``. The page holds the maps; the
figures beside it say how much the activations of the most and of the least important channels vary,
as the paper calls the least important ones fainter.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.baselines import BASELINES, dense
from benchmarks.conditions import RESULTS, append, conditions, markdown_table, set_up
from benchmarks.data import Images
from benchmarks.options import one_line_errors
from graphprune.features import FeatureConfig, draw_features
from graphprune.features.result import Channel
from graphprune.importance.learn_config import LearnConfig


def spread(channels: tuple[Channel, ...]) -> float:
    """Standard deviation of a channel's activations over examples and positions; their mean."""
    values = [np.stack([one.values for one in channel.activations]) for channel in channels]
    return float(np.mean([one.std() for one in values]))


def dataset(images: Images) -> torch.utils.data.TensorDataset:
    """Normalised images with their labels."""
    return torch.utils.data.TensorDataset(images.normalise(images.pixels), images.labels)


@click.command()
@click.argument("name", type=click.Choice(sorted(BASELINES)))
@click.option("--method", default="dirichlet", show_default=True, help="Ranks the channels.")
@click.option(
    "--train-images",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Only the first so many.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Passes of switch learning.",
)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Test images, of different classes.",
)
@click.option(
    "--channels",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="At each end of the ranking.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--page", help="HTML file; default: NAME-features.html.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "features.jsonl")
@one_line_errors
def main(name: str, page: str | None, output: Path, **options: object) -> None:
    """Draw the channels of the dense model NAME and print how much they vary."""
    given = {key: int(str(value)) for key, value in options.items() if key != "method"}
    set_up(given["seed"], given["threads"])
    train, test = BASELINES[name].images()
    train, test = train.subset(slice(0, given["train_images"])), test.subset(slice(0, 256))
    features = draw_features(
        dense(name),
        test.normalise(test.pixels[:2]),
        (dataset(train), dataset(test)),
        method=str(options["method"]),
        config=FeatureConfig(
            channels=given["channels"],
            count=given["count"],
            source=name,
            learn=LearnConfig(epochs=given["epochs"], seed=given["seed"]),
        ),
    )
    features.save(page or f"{name}-features.html", overwrite=True)
    rows = [
        [group.name, group.size, spread(group.most), spread(group.least), group.separated]
        for group in features.groups
    ]
    heads = ["group", "channels", "spread of the most", "of the least", "told apart"]
    record = {"model": name, **options, "groups": [dict(zip(heads, r, strict=True)) for r in rows]}
    append(output, {**record, **conditions(given["seed"])})
    shown = [[f"{cell:.3g}" if isinstance(cell, float) else cell for cell in row] for row in rows]
    click.echo(markdown_table(heads, shown))


if __name__ == "__main__":
    main()
