"""``graphprune inspect``."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from graphprune.cli.console import output_console
from graphprune.cli.source import Source, model_options, read_source
from graphprune.io.text import counted

_SHOWN = 12


@click.command()
@model_options
@click.option("--data", help="Only to take example inputs from; see compress --data.")
@click.option(
    "--members", is_flag=True, help="List every member of each group, and all that stays."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def inspect(members: bool, as_json: bool, **given: Any) -> None:
    """Show what could be pruned from MODEL: channel groups, their shares, and what stays and why.

    A model that torch.export cannot capture whole is shown part by part, as compress takes it.

    \b
    Examples:
      graphprune inspect model.pt2
      graphprune inspect model.pt2 --members
      graphprune inspect model.pt2 --json > groups.json
    """
    data = _overview(read_source(given))
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    console = output_console()
    if "parts" not in data:
        _print(console, data, members)
        return
    console.print(Text(f"captured in parts: {data['in_parts']}"), soft_wrap=True)
    for name, part in data["parts"].items():
        console.print(Text(f"\n{name}", style="bold cyan"))
        _print(console, part, members)
    for name, why in data["left"].items():
        console.print(Text(f"\n{name}", style="bold cyan"))
        console.print(Text(f"left alone: {why}"), soft_wrap=True)


def _overview(source: Source) -> dict[str, Any]:
    from graphprune.analysis.groups import analyse
    from graphprune.analysis.overview import overview
    from graphprune.capturing.capture import capture
    from graphprune.partial.asked import whole_or_parts
    from graphprune.partial.overview import overview_parts

    model, inputs = source.loaded.model, source.inputs
    found = whole_or_parts(
        model,
        lambda: capture(model, inputs),
        lambda module, failure: overview_parts(module, inputs, failure),
    )
    return found if isinstance(found, dict) else overview(found, analyse(found.module))


def _print(console: Console, data: dict[str, Any], members: bool) -> None:
    console.print(_groups(data, members))
    if data["held"]:
        console.print(_held(data, members), highlight=False)


def _groups(data: dict[str, Any], members: bool) -> Table:
    title = f"{counted(len(data['groups']), 'channel group')}, {data['params']:,} parameters"
    if data["params_unread"]:
        title += f" (and {data['params_unread']:,} that evaluation never reads)"
    if data["macs"]:
        batch = "" if data["macs_batch"] == 1 else f" at batch {data['macs_batch']}"
        title += f", {data['macs']:,} MACs{batch}"
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    table.add_column("group")
    for name in ("channels", "steps", "params", "MACs", "members"):
        table.add_column(name, justify="right")
    for group in data["groups"]:
        table.add_row(
            group["name"],
            str(group["channels"]),
            f"{group['units']} + {group['rows']} whole" if group["rows"] else str(group["units"]),
            f"{group['params_share']:.1%}",
            f"{group['macs_share']:.1%}",
            str(len(group["members"])),
        )
        if members:
            for member in group["members"]:
                table.add_row(f"  [dim]{member['parameter']}\\[dim {member['dim']}][/dim]")
    return table


def _held(data: dict[str, Any], everything: bool) -> Text:
    """Call by call, so that it fits any width; the calls that hold most come first."""
    shown = data["held"] if everything else data["held"][:_SHOWN]
    text = Text("\nwhat stays, and why", style="bold").append(
        " (several calls may hold the same parameters)\n", style="not bold dim"
    )
    for held in shown:
        count = counted(held["channels"], "channel")
        text.append(f"\n{held['params']:,} parameters, {count}", style="bold")
        text.append(f": {held['op']} ({held['node']})\n" if held["op"] else "\n")
        text.append(f"    {held['reason']}\n")
        if held["source"]:
            text.append(f"    {held['source']}\n", style="cyan")
        if everything:
            text.append(f"    {', '.join(held['dims'])}\n", style="dim")
    if len(shown) < len(data["held"]):
        text.append(
            f"\nand {counted(len(data['held']) - len(shown), 'more call')}: add --members\n"
        )
    return text
