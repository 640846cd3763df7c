"""The top command and those that need no model."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from importlib.metadata import version

import click
from rich.table import Table

from graphprune.cli.console import output_console
from graphprune.cli.group import OneLineErrors
from graphprune.cli.source import rules_option
from graphprune.io.text import one_line


@click.group(
    name="graphprune",
    cls=OneLineErrors,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("graphprune"), prog_name="graphprune")
def cli() -> None:
    """Make a trained PyTorch model smaller, prove the result, and export it to ONNX.

    \b
    Examples:
      graphprune compress model.pt2 -o out/
      graphprune compress model.pt2 --data train.npz --target macs=0.5 --finetune-epochs 3 -o out/
      graphprune inspect model.pt2
      graphprune curve model.pt2 --data train.npz
      graphprune features model.pt2 --data train.npz
      graphprune search model.pt2 --data train.npz --target macs=0.3 -o out/
      graphprune verify out/
      graphprune export out/ --to onnx -o deploy/
    """


@cli.command()
@click.argument("folder")
@rules_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def verify(folder: str, debug: bool) -> None:
    """Check a compressed model again: files, hashes, plan, ONNX against PyTorch.

    \b
    Example:
      graphprune verify out/
    """
    from graphprune.delivery.verify import verify as check

    certificate = check(folder)
    output_console().print(
        f"[green]verified[/green] {folder}: relative error at most "
        f"{max([certificate.reload_error or 0.0, *certificate.onnx_error.values()]):.1e} "
        f"(limit {certificate.limit:g})",
        highlight=False,
    )


@cli.command(name="passes")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def list_passes(debug: bool) -> None:
    """List the graph passes that are installed, built-in and from plug-ins.

    \b
    Examples:
      graphprune passes
      graphprune compress model.pt2 --pass name -o out/
      graphprune compress model.pt2 --pass 'package.module:Class{option=1}' -o out/
    """
    from graphprune.registry import PASSES

    table = Table("name", "from", "class", box=None)
    for name in PASSES.names():
        entry = PASSES.describe(name)
        table.add_row(name, entry.distribution, entry.target)
    output_console().print(table)


@cli.command(name="methods")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def list_methods(debug: bool) -> None:
    """List the ways to rank channels that are installed, built-in and from plug-ins.

    Those that cannot be imported are named with the reason.

    \b
    Examples:
      graphprune methods
      graphprune compress model.pt2 --method l2 -o out/
      graphprune compress model.pt2 --method 'obd{probes=4}' --data train.npz -o out/
    """
    from graphprune.criteria.base import needs_data
    from graphprune.errors import UsageError
    from graphprune.registry import CRITERIA, SWITCHES

    broken = []
    table = Table("name", "data", "from", "what", box=None)
    for registry in (SWITCHES, CRITERIA):
        for entry in registry.entries():
            try:
                method = registry.load(entry.name)
            except UsageError as error:  # the others are none the worse for it
                broken.append(str(error))
                continue
            uses = "learns" if registry is SWITCHES else "needs" if needs_data(method) else ""
            table.add_row(entry.name, uses, entry.distribution, one_line(_summary(method)))
    output_console().print(table)
    for line in broken:
        click.echo(f"broken: {line}")


def _summary(described: object) -> str:
    """The first line of the docstring, "" without; dataclasses make up one of their signature."""
    doc = inspect.getdoc(described) or ""
    made_up = is_dataclass(described) and doc.startswith(f"{getattr(described, '__name__', '')}(")
    return "" if made_up else doc.partition("\n")[0]


def main() -> None:
    """Entry point of the ``graphprune`` script."""
    cli()


# The commands with a module of their own register themselves on `cli`.
from graphprune.cli import compress as _compress  # noqa: E402
from graphprune.cli import curve as _curve  # noqa: E402
from graphprune.cli import export as _export  # noqa: E402
from graphprune.cli import features as _features  # noqa: E402
from graphprune.cli import inspect as _inspect  # noqa: E402
from graphprune.cli import search as _search  # noqa: E402

cli.add_command(_compress.compress)
cli.add_command(_curve.curve)
cli.add_command(_export.export)
cli.add_command(_features.features)
cli.add_command(_inspect.inspect)
cli.add_command(_search.search)
