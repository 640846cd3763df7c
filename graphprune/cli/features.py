"""``graphprune features``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from graphprune.cli.console import output_console
from graphprune.cli.progress import progress_on
from graphprune.cli.source import (
    loss_option,
    model_options,
    read_source,
    seed_option,
    switch_epochs_option,
)
from graphprune.io.text import counted

if TYPE_CHECKING:
    from graphprune.features import FeatureConfig

_GRID = re.compile(r"(?:(\d+)\+)?(\d+)x(\d+)")


@click.command()
@model_options
@click.option("--data", help="Ranks channels and gives the inputs shown. See compress.")
@loss_option
@click.option("--method", default="auto", show_default=True, help="What ranks; see compress.")
@click.option("-o", "--output", default="features.html", show_default=True, help="The page.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier page.")
@click.option(
    "--example",
    "examples",
    type=int,
    multiple=True,
    metavar="NUMBER",
    help="Held-out example to show, from 0; repeat for several. Default: --count of them, "
    "of different classes.",
)
@click.option("--count", default=2, show_default=True, help="How many examples to show.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Channel group to show, as inspect names it; repeat for several.",
)
@click.option(
    "--at",
    multiple=True,
    metavar="NODE",
    help="Graph node to look at, as the page names them; repeat for several.",
)
@click.option(
    "--max-groups",
    default=12,
    show_default=True,
    help="Without --group: show so many groups, spread over the graph.",
)
@click.option(
    "--channels",
    default=4,
    show_default=True,
    help="So many of the most and so many of the least important channels of each group.",
)
@click.option(
    "--token-grid",
    metavar="[EXTRA+]HxW",
    help="Draw rows of H*W tokens as grids, without EXTRA tokens in front, such as 1+14x14.",
)
@click.option("--batch-size", default=64, show_default=True, help="Examples per step.")
@switch_epochs_option
@seed_option
def features(output: str, overwrite: bool, **given: Any) -> None:
    """Show on one page what the most and the least important channels of MODEL respond to.

    The page is a single HTML file that loads nothing from elsewhere.

    \b
    Examples:
      graphprune features model.pt2 --data train.npz
      graphprune features model.pt2 --data train.npz --method l2 --example 0 --example 7
      graphprune features model.pt2 --data train.npz --group layer1.0.conv1.weight --channels 8
      graphprune features vit.pt2 --data images/ --token-grid 1+14x14 -o vit.html
    """
    from graphprune.features import draw_features
    from graphprune.features.result import check_page

    place = check_page(output, overwrite=overwrite)
    config = _config(given)
    console = Console(stderr=True)
    with progress_on(console) as progress:
        source = read_source(given)
        found = draw_features(
            source.loaded.model,
            source.inputs,
            source.data,
            method=given["method"],
            loss=given["loss"],
            config=replace(config, source=source.loaded.source, progress=progress),
        )
        size = found.save(place, overwrite=overwrite)
    for note in found.notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    shown = (
        f"{len(found.groups)} of {counted(found.found, 'channel group')}, ranked by {found.method}"
    )
    examples = counted(len(found.inputs), "example")
    output_console().print(f"{output}  {shown}; {examples}; {size / 1e6:.2f} MB", highlight=False)


def _config(given: dict[str, Any]) -> FeatureConfig:
    from graphprune.features import FeatureConfig
    from graphprune.importance.learn_config import LearnConfig

    grid = _token_grid(given["token_grid"]) if given["token_grid"] else None
    names = ("channels", "examples", "count", "groups", "at", "max_groups", "batch_size")
    return FeatureConfig(
        **{name: given[name] for name in names},
        token_grid=grid,
        learn=LearnConfig(epochs=given["switch_epochs"], seed=given["seed"]),
    )


def _token_grid(text: str) -> tuple[int, int, int]:
    from graphprune.errors import UsageError

    found = _GRID.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--token-grid {text!r}: write [EXTRA+]HEIGHTxWIDTH, such as 1+14x14")
    extra, height, width = found.groups(default="0")
    return int(extra), int(height), int(width)
