"""``graphprune export``."""

from __future__ import annotations

import click

from graphprune.cli.console import output_console
from graphprune.cli.source import rules_option


@click.command()
@click.argument("folder")
@click.option(
    "--to",
    "exporter",
    required=True,
    help="The format: a registered exporter or package.module:Class, with options as in "
    "onnx{opset=18}.",
)
@click.option("-o", "--output", required=True, help="Folder to write; must not exist or be empty.")
@rules_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def export(folder: str, exporter: str, output: str, debug: bool) -> None:
    """Write the small model in FOLDER, which compress wrote, in another format.

    ONNX files are compared with PyTorch, as compress does; other formats are not run.

    \b
    Examples:
      graphprune export out/ --to 'onnx{opset=18,optimise=false}' -o deploy/
      graphprune export out/ --to package.module:Class -o deploy/
    """
    from graphprune.delivery.export import export as run

    exported = run(folder, exporter, output)
    for file in exported.files:
        error = exported.onnx_error.get(file.name)
        proof = "not proved" if error is None else f"relative error at most {error:.1e}"
        output_console().print(f"[green]wrote[/green] {file} ({proof})", highlight=False)
