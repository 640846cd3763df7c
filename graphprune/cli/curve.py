"""``graphprune curve``."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from graphprune.cli.choices import (
    batch_size_option,
    choice_config,
    choice_options,
    chosen_method,
    method_option,
)
from graphprune.cli.console import output_console
from graphprune.cli.progress import progress_on
from graphprune.cli.source import loss_option, model_options, read_source

if TYPE_CHECKING:
    from graphprune.curve import Curve, Point


def _margin(context: click.Context, option: click.Parameter, margin: float) -> float:
    from graphprune.curve import check_margin

    del context, option
    check_margin(margin)
    return margin


@click.command()
@model_options
@click.option("--data", required=True, help="Labelled or not; part is held out. See compress.")
@loss_option
@method_option
@click.option(
    "--budget",
    type=click.Choice(["macs", "params", "channels"]),
    default="macs",
    show_default=True,
    help="What is cut down.",
)
@click.option(
    "--points",
    default="0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2,0.1",
    show_default=True,
    help="Fractions of the budget that stay.",
)
@click.option(
    "--margin",
    default=0.01,
    show_default=True,
    callback=_margin,
    help="Loss of accuracy (or rise of the loss) that you would accept before fine-tuning.",
)
@batch_size_option
@choice_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def curve(as_json: bool, margin: float, **given: Any) -> None:
    """Show what accuracy MODEL keeps at which budget, before any fine-tuning.

    Every budget is tried by the method and, as controls, by l2 and at random; each small model is
    the one that compress would cut with the same options, proved equal to the masked one, and
    judged on data held out from learning. Where more or less stays than was asked for, by over one
    percentage point, the table says how much.

    \b
    Examples:
      graphprune curve model.pt2 --data train.npz
      graphprune curve model.pt2 --data train.npz --budget params --points 0.5,0.25,0.1
      graphprune curve model.pt2 --data train.npz --ranking global --round-to 1
      graphprune curve model.pt2 --data train.npz --json > curve.json
    """
    from graphprune.curve import CurveConfig, draw_curve

    points = _fractions(given["points"])
    config = CurveConfig(given["budget"], points, compress=choice_config(given))
    method = chosen_method(given)
    with progress_on(Console(stderr=True)) as progress:
        source = read_source(given)
        found = draw_curve(
            source.loaded.model,
            source.inputs,
            source.data,
            method=method,
            loss=given["loss"],
            config=replace(config, compress=replace(config.compress, progress=progress)),
        )
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1, allow_nan=False))
        return
    dense = _figure(found, found.dense)
    output_console().print(f"{found.measure} on held-out data; dense model {dense}\n")
    output_console().print(_table(found, points))
    for name in found.points:
        output_console().print(_advice(found, name, margin), highlight=False)
    for note in found.notes:
        output_console().print(f"note: {note}", highlight=False)


def _fractions(text: str) -> tuple[float, ...]:
    from graphprune.errors import UsageError

    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"--points {text!r}: write fractions such as 0.75,0.5,0.25") from None


def _table(found: Curve, fractions: tuple[float, ...]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column(f"{found.kind} asked for", justify="right")
    for name in found.points:
        table.add_column(name, justify="right")
    for fraction in fractions:
        cells = []
        for points in found.points.values():
            point = next((one for one in points if one.asked == fraction), None)
            cells.append(_cell(found, point) if point else "out of reach")
        table.add_row(_percent(fraction), *cells)
    return table


def _cell(found: Curve, point: Point) -> str:
    """The figure, and what stays where that is not what was asked for."""
    from graphprune.choosing.budget import TOLERANCE

    figure = _figure(found, point.figures)
    missed = abs(point.reached - point.asked) > TOLERANCE
    return f"{figure} (at {point.reached:.1%})" if missed else figure


def _percent(fraction: float) -> str:
    """All its digits, so that no two budgets look alike."""
    return f"{(Decimal(repr(fraction)) * 100).normalize():f}%"


def _figure(found: Curve, figures: dict[str, float]) -> str:
    value = figures[found.measure]
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.2%}" if found.measure == "accuracy" else f"{value:.4g}"


def _advice(found: Curve, name: str, margin: float) -> str:
    point = found.cheapest(name, margin)
    shown = f"{margin:.1%}" if found.measure == "accuracy" else f"{margin:g}"
    if point is None:
        return f"{name}: no budget tried stays within {shown} of the dense model"
    return f"{name}: within {shown} of the dense model down to {found.kind}={point.reached:.3g}"
