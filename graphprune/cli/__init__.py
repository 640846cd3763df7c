"""The command line: one file for each command."""

from graphprune.cli.main import cli, main

__all__ = ["cli", "main"]
